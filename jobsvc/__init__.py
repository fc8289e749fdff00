"""jobsvc: the service that runs dbt jobs."""
