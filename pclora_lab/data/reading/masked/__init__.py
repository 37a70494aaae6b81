"""Folders of pictures whose pixels have classes."""
