"""Clawback: a self-hosted event fabric for coding agents."""

__version__ = "0.1.0"
