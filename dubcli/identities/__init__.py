"""What was learned of single people: kept, found again, moved between machines."""
