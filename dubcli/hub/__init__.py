"""Weight files of others: where they come from, got, proven, kept, and published."""
