"""What a run would give, before it is made: accuracy, latency, time."""
