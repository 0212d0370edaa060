"""What a command that runs for a while tells the person in front of it."""

import logging

from clawback.commands.terminal import printable


def configure_log() -> None:
    """Write what happens to stderr, one printable line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Line())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("clawback").setLevel(logging.INFO)


class _Line(logging.Formatter):
    """One line for each record: part of it is others' text."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(f"clawback: {super().format(record)}")
