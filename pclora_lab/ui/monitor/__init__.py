"""One run that goes on: bar, large numbers, λ by hand, what can be done with it."""
