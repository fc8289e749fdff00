"""A dbt project that attacks whoever runs it, and a table of what it got."""
