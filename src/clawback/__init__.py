"""Clawback: a self-hosted event fabric for coding agents."""

__version__ = "0.2.0"
