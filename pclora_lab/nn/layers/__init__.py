"""What counts as a linear layer, in whatever wrapping a model comes."""
