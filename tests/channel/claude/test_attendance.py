"""Which runs of Claude Code take events."""

import pytest

from clawback.channel.claude.attendance import is_attended, takes_events


@pytest.mark.parametrize(
    ("entry", "attended"),
    [
        ("cli", True), ("claude-vscode", True), ("remote", True), ("", True), ("something-new", True),
        ("sdk-cli", False), ("sdk-ts", False), ("sdk-py", False), ("mcp", False), ("claude-code-github-action", False),
    ],
)  # fmt: skip
def test_a_run_at_which_nobody_sits_is_known_by_how_it_was_started(entry, attended):
    """What is not known counts as a person's: it loses no events."""
    assert is_attended({"CLAUDE_CODE_ENTRYPOINT": entry}) is attended
    assert is_attended({})


@pytest.mark.parametrize(
    ("environment", "setting", "takes"),
    [
        ({"CLAUDE_CODE_ENTRYPOINT": "cli"}, False, True),
        ({"CLAUDE_CODE_ENTRYPOINT": "sdk-cli"}, False, False),
        ({"CLAUDE_CODE_ENTRYPOINT": "sdk-cli"}, True, True),
        ({"CLAUDE_CODE_ENTRYPOINT": "sdk-cli", "CLAWBACK_SESSION": "ci"}, False, True),
        ({"CLAUDE_CODE_ENTRYPOINT": "sdk-cli", "CLAWBACK_SESSION": " "}, False, False),
        ({"CLAUDE_CODE_ENTRYPOINT": "sdk-cli", "CLAWBACK_EVENTS": "on"}, False, True),
        ({"CLAUDE_CODE_ENTRYPOINT": "sdk-cli", "CLAWBACK_EVENTS": "Off", "CLAWBACK_SESSION": "ci"}, True, False),
        ({"CLAUDE_CODE_ENTRYPOINT": "cli", "CLAWBACK_EVENTS": "off"}, True, False),
        ({"CLAUDE_CODE_ENTRYPOINT": "sdk-cli", "CLAWBACK_EVENTS": "perhaps"}, False, False),
    ],
)
def test_such_a_run_takes_events_only_when_it_is_told_to(environment, setting, takes):
    """By a tag, by the config or by the variable, which has the last word."""
    assert takes_events(environment, one_shot_events=setting) is takes
