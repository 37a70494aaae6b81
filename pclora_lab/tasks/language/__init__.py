"""Models of language: the next token of a text, and how a text goes on."""
