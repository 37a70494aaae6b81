"""The command line: ``pclora-lab``."""

from pclora_lab.cli.main import main

__all__ = ["main"]
