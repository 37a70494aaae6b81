"""Images with a class for every pixel: tables, folders, drawn scenes, and their batches."""
