"""All runs of a folder, and comparisons."""
