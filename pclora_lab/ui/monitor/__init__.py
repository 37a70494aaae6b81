"""One run, live and looked back on: buttons, λ by hand, curves, layers, examples."""
