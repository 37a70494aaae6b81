"""What would this rank give? Sizes, latency, expected accuracy, ranks layer by layer."""
