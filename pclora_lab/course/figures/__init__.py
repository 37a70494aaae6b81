"""Figures that only the lessons draw. Matplotlib, no widgets."""
