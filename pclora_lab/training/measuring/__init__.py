"""What a run measures on the way: ``metrics`` makes the rows, ``layer_probe`` looks inside."""
