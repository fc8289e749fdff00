"""The REST API: dbt Cloud's administrative API, v2 and v3, served under ``/api/``."""
