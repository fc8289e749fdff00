"""One file a subject: the shell around all pages, runs, jobs."""
