"""
The command line: one program, a command for each thing a person does, a module here for each noun.

Imports are late: Claude Code starts `clawback channel` with every session and waits for it, so each command loads what
it needs and nothing else. This file is all that the channel loads of the command line.

Exit codes: 0 done, 1 could not be done, 2 called or configured wrongly, 130 interrupted.
"""

import sys
from collections.abc import Sequence

from clawback.errors import ClawbackError, ConfigError

EXIT_FAILED = 1
EXIT_WRONG = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an error is one sentence on stderr."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        # The one command whose start counts does not wait for a parser.
        if list(arguments) == ["channel"]:
            from clawback.channel.server import main as run_channel

            run_channel()
            return 0
        from clawback.cli.root import run

        return run(arguments)
    except ConfigError as error:
        return _fail(error, EXIT_WRONG)
    except ClawbackError as error:
        return _fail(error, EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _fail(error: ClawbackError, code: int) -> int:
    print(f"clawback: {error}", file=sys.stderr)
    return code
