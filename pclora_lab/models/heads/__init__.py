"""The heads of models: which layers they are, and new ones for other data."""
