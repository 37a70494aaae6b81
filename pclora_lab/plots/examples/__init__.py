"""What is drawn of single examples beside their pictures."""
