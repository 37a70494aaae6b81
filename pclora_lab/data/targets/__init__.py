"""Data whose examples have numbers, several labels, or a tag for each word."""
