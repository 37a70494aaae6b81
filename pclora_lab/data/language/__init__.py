"""Texts without labels: tables, text files, and their batches for models of language."""
