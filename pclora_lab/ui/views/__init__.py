"""What is seen of a run: curves, layers, examples, behind one timeline."""
