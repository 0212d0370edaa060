"""`clawback export` and `clawback apply`: sources and crons as one file, against a real server."""

import asyncio
import json
import re
from datetime import UTC, datetime

import pytest
import yaml

from processes import CLAWBACK, Server, environment
from waiting import eventually

YEAR = datetime.now(UTC).year + 2

FILE = f"""\
sources:
  demo:
    type: github
    secret: env:DEMO_SECRET
    routes:
      pull_request.opened: /review
    sessionTag: reviewer
  stripe:
    type: stripe
    secret: file:stripe.secret
    note: payments
crons:
  morning:
    schedule: 0 9 * * MON-FRI
    prompt: Summarise the open issues
    timezone: Europe/Berlin
  later:
    once: {YEAR}-01-31T09:00
    prompt: Look again
    paused: true
"""

SECRETS = {"DEMO_SECRET": "planted-secret-of-demo"}


@pytest.fixture
def run(server, token):
    """Run `clawback` with the token of a profile that no other test has."""

    def run(*arguments, **extra):
        variables = {"CLAWBACK_TOKEN": token.value, "CLAWBACK_SERVER": server.url}
        return server.run(*map(str, arguments), **variables | SECRETS | extra)

    return run


@pytest.fixture
def file(tmp_path):
    """A file with two sources and two crons, and a secret beside it."""
    path = tmp_path / "clawback.yaml"
    path.write_text(FILE)
    secret = tmp_path / "stripe.secret"
    secret.write_text("whsec_cGxhbnRlZHBsYW50ZWRwbGFudGVk\n")
    secret.chmod(0o600)
    return path


def exported(run):
    """Read what there is."""
    ran = run("export")
    assert ran.returncode == 0, ran.stderr
    assert "planted" not in ran.stdout
    return yaml.safe_load(ran.stdout)


def test_a_file_is_applied_once_and_changes_nothing_twice(run, file):
    """The plan is a diff; a dry run does none of it; no secret is printed."""
    planned, before = run("apply", file, "--dry-run"), exported(run)
    applied, after = run("apply", file), exported(run)
    again = run("apply", file)

    assert planned.returncode == 0, planned.stderr
    assert [line for line in planned.stdout.splitlines() if line[0] in "+~-="] == [
        "+ source demo", "+ source stripe", "+ cron morning", "+ cron later", "= 0 as they are",
    ]  # fmt: skip
    assert before == {"sources": {}, "crons": {}}
    assert applied.returncode == 0, applied.stderr
    assert after["sources"]["demo"] == {
        "type": "github",
        "routes": {"pull_request.opened": "/review"},
        "sessionTag": "reviewer",
    }
    assert after["crons"]["later"]["paused"] is True
    assert (again.returncode, again.stdout) == (0, "= 4 as they are\n")
    assert "planted" not in planned.stdout + applied.stdout + again.stdout


def test_what_was_exported_changes_nothing(run, file, tmp_path):
    """Nor do entries that the file does not name, unless it is told to prune; then it asks."""
    run("apply", file)
    copy = tmp_path / "copy.yaml"
    copy.write_text(run("export").stdout)
    same = run("apply", copy)
    part = tmp_path / "part.yaml"
    part.write_text("sources:\n  demo:\n    type: github\n    sessionTag: ci\n")
    kept, names = run("apply", part), set(exported(run)["sources"])
    unsure, pruned = run("apply", part, "--prune"), run("apply", part, "--prune", "--yes")
    left = exported(run)

    assert (same.returncode, same.stdout) == (0, "= 4 as they are\n")
    assert kept.stdout.splitlines() == [
        "~ source demo",
        '    routes: {"pull_request.opened":"/review"} -> null',
        '    sessionTag: "reviewer" -> "ci"',
        "= 0 as they are",
    ]
    assert names == {"demo", "stripe"}
    assert unsure.returncode == 2
    assert pruned.returncode == 0, pruned.stderr
    assert set(left["sources"]) == {"demo"}
    assert set(left["crons"]) == {"morning", "later"}, "a kind that the file does not have is left alone"


def test_a_changed_secret_is_set_and_shown_by_nobody(run, file):
    """Only where it is another than the source has."""
    run("apply", file)
    changed = run("apply", file, DEMO_SECRET="planted-and-new")
    again = run("apply", file, DEMO_SECRET="planted-and-new")

    assert changed.stdout.splitlines()[:2] == [
        "~ source demo",
        '    secret: "another" -> "the one that is given"',
    ]
    assert again.stdout == "= 4 as they are\n"


def test_a_secret_that_is_made_goes_into_its_file(run, tmp_path):
    """Or is shown once."""
    path = tmp_path / "f.yaml"
    path.write_text("sources:\n  one: {type: github}\n")
    shown = run("apply", path)
    path.write_text("sources:\n  two: {type: github}\n")
    kept = run("apply", path, "--secret-dir", tmp_path)

    assert re.search(r"^Secret of one  [0-9a-f]{64}  \(shown this once\)$", shown.stdout, re.MULTILINE)
    assert kept.returncode == 0, kept.stderr
    assert (tmp_path / "two").read_text().strip() not in kept.stdout
    assert (tmp_path / "two").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("find", "replace", "line", "message"),
    [
        ("type: github", "type: githbu", 3, "did you mean github?"),
        ("sessionTag: reviewer", "sessionTagg: reviewer", 7, "unknown field `sessionTagg`"),
        ("note: payments", "timeoutSeconds: soon", 11, "Expected `int"),
        ("pull_request.opened: /review", "'pull request.*.x': /review", 5, "pull request"),
        ("secret: env:DEMO_SECRET", "secret: planted", 4, "a secret does not stand in this file"),
        ("secret: env:DEMO_SECRET", "secret: env:NOT_THERE", 4, "the variable NOT_THERE is not set"),
        ("secret: file:stripe.secret", "secret: file:nope", 10, "cannot read"),
        ("schedule: 0 9 * * MON-FRI", "schedule: 0 99 * * *", 14, "99"),
        ("timezone: Europe/Berlin", "timezone: Europe/Nowhere", 16, "Europe/Nowhere"),
        ("prompt: Look again", "prompt: [unclosed", 20, "this is no YAML"),
        ("  later:", "  morning:", 17, "comes twice"),
        ("crons:", "corns:", 12, "accepted are sources and crons"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(run, file, find, replace, line, message):
    """And nothing of the file is done."""
    file.write_text(FILE.replace(find, replace, 1))
    ran = run("apply", file)

    assert ran.returncode in (1, 2)
    assert ran.stderr.startswith(f"clawback: {file}:{line}: "), ran.stderr
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert "planted" not in ran.stderr
    assert exported(run) == {"sources": {}, "crons": {}}


def test_an_editor_is_told_what_may_stand_there(run):
    """A JSON schema of the file."""
    schema = json.loads(run("apply", "--schema").stdout)

    assert set(schema["$defs"]) >= {"ConfigSource", "ConfigCron"}
    assert schema["$defs"]["ConfigSource"]["properties"]["secret"]["pattern"] == "^(env|file):.+"
    assert schema["$defs"]["ConfigSource"]["required"] == ["type"]


async def test_four_hundred_entries_survive_a_kill_in_the_middle(own_server, tmp_path):
    """Killed once some of them are there, and applied again: right, and a third time nothing changes."""
    server: Server = own_server
    server.start()
    token = server.token()
    variables = {"CLAWBACK_TOKEN": token.value, "CLAWBACK_SERVER": server.url}
    content = {
        "sources": {f"s{n}": {"type": "github", "routes": {"push": f"/work {n}"}} for n in range(200)},
        "crons": {f"c{n}": {"schedule": f"{n % 60} 9 * * *", "prompt": f"Do {n}"} for n in range(200)},
    }
    path = tmp_path / "many.yaml"
    path.write_text(yaml.safe_dump(content))
    process = await asyncio.create_subprocess_exec(
        CLAWBACK, "apply", path, env=environment(server.home) | variables, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip

    def count():
        return len(json.loads(server.run("source", "list", "--json", **variables).stdout))

    await eventually(lambda: count() > 0, 40)
    server.kill9()
    await process.wait()
    server.start()
    there = count()
    mended = server.run("apply", str(path), **variables)
    again = server.run("apply", str(path), **variables)
    after = yaml.safe_load(server.run("export", **variables).stdout)

    assert there > 0
    assert mended.returncode == 0, mended.stderr
    assert again.stdout == "= 400 as they are\n"
    assert after == content
