"""
The entry point of `clawback` and `python -m clawback`.

Hooks go past the command line: Claude's turn waits for them, and reading in a parser takes longer than their work.
"""

import sys


def main() -> int:
    """Run what was called for and return its exit code."""
    match sys.argv[1:]:
        case ["hook", name] if not name.startswith("-"):
            from clawback.channel.claude import hook

            return hook.main(name)
        case ["monitor"]:
            from clawback.channel.claude import monitor

            return monitor.main()
    from clawback.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
