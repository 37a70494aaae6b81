"""A method of another package: only the largest rows of every weight stay."""
