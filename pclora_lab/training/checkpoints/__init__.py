"""How far a training is, written down while it goes on."""
