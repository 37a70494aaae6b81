"""A run as one page that needs nothing else: what was compressed, by how much, at what loss."""

from pclora_lab.plots.report.writing import write_report

__all__ = ["write_report"]
