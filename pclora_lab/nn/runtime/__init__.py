"""What surrounds a computation on a CPU: workers and memory."""
