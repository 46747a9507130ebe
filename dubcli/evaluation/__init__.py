"""Scores of finished dubs, measured on files as users get them."""
