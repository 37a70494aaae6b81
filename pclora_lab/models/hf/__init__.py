"""What transformers' models are read from, and what their heads are for."""
