"""What a run is made from, as hashes and settings, and what of it is not as it was."""
