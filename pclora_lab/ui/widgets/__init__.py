"""Widgets with a browser side of their own (JavaScript); each can be used alone."""
