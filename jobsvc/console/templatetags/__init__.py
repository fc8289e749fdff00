"""How the console says things: statuses, durations, moments, logs."""
