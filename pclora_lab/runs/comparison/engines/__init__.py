"""What runs the workers of a comparison: one file for each engine."""
