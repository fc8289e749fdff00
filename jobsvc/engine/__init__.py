"""Carries out one run: no Django, no database, no account."""
