"""Files and folders as tables by split, every row counted."""
