"""A run folder that can be told from one that is dead, and rows that are not lost."""
