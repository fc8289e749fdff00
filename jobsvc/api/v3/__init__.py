"""Version 3: what a job needs to run, set up. One file a tag."""
