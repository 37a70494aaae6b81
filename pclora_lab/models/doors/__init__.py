"""Ways in which other libraries open what this package has saved."""
