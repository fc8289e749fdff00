"""Who: accounts, their people and their tokens."""
