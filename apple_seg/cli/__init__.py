"""The command line: every command reads one experiment file, or tables of scores."""

from apple_seg.cli.main import main

__all__ = ["main"]
