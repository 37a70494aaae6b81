"""The form of a run's settings, and a schedule to draw."""
