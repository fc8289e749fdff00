"""What to run: job definitions."""
