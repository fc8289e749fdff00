"""Version 2: accounts, projects, environments, jobs, runs, steps, users. One file a tag."""
