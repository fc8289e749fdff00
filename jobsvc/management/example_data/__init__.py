"""A made-up account with a past, to look at pages and to measure them with."""
