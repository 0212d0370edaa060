"""Documents keep up with the code: what a user can meet is written down, and what is written down is there."""

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import get_args

import click
import msgspec
import pytest
import yaml
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from prometheus_client import Counter, Gauge, Histogram

from clawback import errors, wire
from clawback.api import CONTROLLERS, PATH, build_api
from clawback.api.answers import PROBLEMS
from clawback.api.description import build_openapi_config, complete
from clawback.channel.settings import PluginConfig
from clawback.channel.tools import TOOLS
from clawback.cli.root import clawback
from clawback.fabric import layout
from clawback.fields import SourceFields, fields_of
from clawback.http import problems
from clawback.operations import OPERATIONS
from clawback.senders.page import write_senders
from clawback.settings import CONFIG_FILE_VARIABLE, PLUGIN_VARIABLES, RUN_VARIABLES, SETTINGS
from clawback.store.news import News, NewsType
from clawback.telemetry import metrics
from clawback.webhooks import endpoint

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("plugin/**/*.md"),
        ROOT / "tests/data/README.md",
    ]
)
SOURCES = [
    path
    for pattern in ("src/**/*.py", "tests/**/*.py", "bench/**/*.py", "pyproject.toml", "Makefile")
    for path in ROOT.glob(pattern)
]


def read(name: str) -> str:
    """Read a document."""
    return (ROOT / name).read_text()


def rows(document: str) -> dict[str, str]:
    """Read the table rows of a document by what their first cell names; rows of one name are joined."""
    found: dict[str, str] = {}
    for line in document.splitlines():
        if line.startswith("| "):
            cell = line.split("|")[1].strip().strip("`")
            found[cell] = found.get(cell, "") + line
    return found


def commands(command: click.Command, prefix: str) -> Iterator[tuple[str, click.Command]]:
    """Walk the commands that do something, with their full names."""
    if not isinstance(command, click.Group):
        yield prefix, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        yield from commands(command.get_command(context, name), f"{prefix} {name}")


COMMANDS = dict(commands(clawback, "clawback"))


def fields(frame: type[msgspec.Struct]) -> list[str]:
    """Name a frame's fields as they are on the wire."""
    return [field.encode_name for field in msgspec.structs.fields(frame)]


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_is_documented_with_its_parameters(name):
    """The plugin's README has a row for every tool, which names each of its parameters."""
    row = rows(read("plugin/README.md")).get(name, "")

    assert row, f"plugin/README.md has no row for the tool {name}"
    for parameter in TOOLS[name].__struct_fields__:
        assert f"`{parameter}`" in row, f"the row of {name} lacks {parameter}"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_setting_is_documented_with_its_names(setting):
    """docs/settings.md has a row for every setting, with its flag and variable, and names the variable of a file."""
    row = rows(read("docs/settings.md")).get(setting.name, "")

    assert f"`{setting.variable}`" in row
    assert (f"`--{setting.name.replace('_', '-')}`" in row) == setting.flag
    assert not setting.secret or f"`{setting.variable}_FILE`" in read("docs/settings.md")


@pytest.mark.parametrize("name", sorted(PLUGIN_VARIABLES | RUN_VARIABLES | {CONFIG_FILE_VARIABLE}))
def test_a_variable_is_documented(name):
    """docs/settings.md names every variable that is no setting's."""
    assert f"`{name}`" in read("docs/settings.md")


@pytest.mark.parametrize("name", fields(PluginConfig))
def test_a_field_of_the_plugins_config_is_documented(name):
    """Both places that describe the plugin's config have a row for every field."""
    assert name in rows(read("docs/settings.md"))
    assert name in rows(read("plugin/README.md"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_documented_with_its_options(name):
    """docs/operations.md has a row for every command, and names each of its options."""
    document = read("docs/operations.md")
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts if option.startswith("-")}

    assert name in rows(document), f"docs/operations.md has no row for {name}"
    for option in options:
        assert f"`{option}`" in document, f"docs/operations.md does not name {option} of {name}"


def test_every_operation_has_its_doors_or_a_reason():
    """docs/doors.md has a row for each; a door is there where it says so, and where one is missing it says why."""
    requests = {kind.__struct_config__.tag for kind in OPERATIONS}
    doors = {
        "WebSocket": {"event_ack" if tag == "ack" else tag for tag in requests},
        "API": {"event_stream", *(each.operation_id for kind in CONTROLLERS for each in vars(kind).values()
                                  if isinstance(each, HTTPRouteHandler))},
        "Tool": set(TOOLS),
    }  # fmt: skip
    lines = [line for line in read("docs/doors.md").splitlines() if line.startswith("| ")]
    names, _, *listed = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    table = {cells[0].strip("`"): dict(zip(names, cells, strict=True)) for cells in listed}

    assert set(table) == set.union(*doors.values())
    for name, row in table.items():
        for door, offered in doors.items():
            assert row[door] == ("yes" if name in offered else "—"), f"{name}, {door}"
        assert row["Command line"] == "—" or row["Command line"].strip("`") in COMMANDS
        assert ("—" in row.values()) == bool(row["Why not"]), name


@pytest.mark.parametrize(
    "frame", [*get_args(wire.ClientMessage), *get_args(wire.ServerMessage)], ids=lambda frame: frame.__name__
)
def test_a_frame_is_documented_with_its_fields(frame):
    """docs/protocol.md has a row for every message of the WebSocket, which names each of its fields."""
    row = rows(read("docs/protocol.md")).get(frame.__struct_config__.tag, "")

    assert row, f"docs/protocol.md has no row for {frame.__struct_config__.tag}"
    for field in fields(frame):
        assert f"`{field}`" in row, f"the row of {frame.__struct_config__.tag} lacks {field}"


def write_type(plain: object) -> str:
    """Write what a field may be, and its bounds, as msgspec reads them."""
    schema = msgspec.json.schema(plain)
    if "$ref" in schema:
        schema = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    written = ""
    match schema:
        case {"enum": list(words)}:
            written = ", ".join(f"`{word}`" for word in words)
        case {"type": "integer", "minimum": least, "maximum": most}:
            written = f"{least} to {most}"
        case {"type": "string", "maxLength": most}:
            written = f"text, at most {most} characters"
        case {"type": "string"}:
            written = "text"
        case {"properties": dict(inner)}:
            written = ", ".join(f"`{name}`" for name in inner)
        case {"type": "object", "maxProperties": most}:
            written = f"text to text or object, at most {most}"
        case {"type": "array", "maxItems": most}:
            written = f"list of texts, at most {most}"
        case {"anyOf": [{"type": "string"}, {"type": "array"}]}:
            written = "text, or a list of texts"
    assert written, f"say here how {schema} is written"
    return written


@pytest.mark.parametrize("declared", [SourceFields])
def test_declared_fields_are_documented_as_they_are_declared(declared):
    """docs/protocol.md has the table that the declaration makes, to the letter."""
    rows = [f"| `{each.wire_name}` | {write_type(each.plain)} | {each.words} |" for each in fields_of(declared)]
    table = "\n".join(["| Field | Type | Meaning |", "| --- | --- | --- |", *rows])

    assert table in read("docs/protocol.md"), f"docs/protocol.md needs this table:\n{table}"


def test_every_close_code_is_documented():
    """docs/protocol.md has a row for every code that the server closes with."""
    codes = {str(value) for name, value in vars(wire).items() if name.startswith("CLOSE_")}

    assert codes | {"1009"} <= rows(read("docs/protocol.md")).keys()


def test_every_status_of_a_webhook_is_documented():
    """docs/protocol.md has a row for every status that the endpoint names and for every error's."""
    named = re.findall(r"HTTPStatus\.([A-Z_]+)", Path(endpoint.__file__).read_text())
    statuses = {HTTPStatus[name].value for name in named} | {
        problems.build_problem(kind("")).status for kind in (errors.BadPayload, *endpoint._TOLD)
    }
    section = read("docs/protocol.md").partition("### `POST /webhooks/")[2].partition("\n### ")[0]

    assert {str(status) for status in statuses} <= rows(section).keys()


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ClawbackError)],
    ids=lambda kind: kind.__name__,
)
def test_an_error_is_documented_with_its_status(kind):
    """docs/protocol.md has a row for every class of the error tree, with the status that it is answered with."""
    row = rows(read("docs/protocol.md")).get(kind.__name__, "")

    assert row, f"docs/protocol.md has no row for {kind.__name__}"
    assert kind is errors.ConfigError or f"| {problems.build_problem(kind('')).status} |" in row


def endpoints():
    """Describe every operation of the API: its name, its request as docs/api.md writes it, its successes."""
    site = Litestar([build_api(None, None, None, None)], openapi_config=build_openapi_config())
    for path, item in complete(site.openapi_schema.to_schema())["paths"].items():
        for method, operation in item.items():
            successes = [status for status in operation["responses"] if status.startswith("2")]
            yield operation["operationId"], f"{method.upper()} {path.removeprefix(PATH)}", successes


@pytest.mark.parametrize("endpoint", [pytest.param(each, id=each[0]) for each in endpoints()])
def test_an_operation_of_the_api_is_documented(endpoint):
    """docs/api.md has a row for every operation, with its request and how it succeeds."""
    name, request, successes = endpoint
    row = rows(read("docs/api.md")).get(name, "")

    assert f"`{request}`" in row
    assert all(status in row for status in successes)


def test_every_problem_of_the_api_is_documented():
    """docs/api.md has a row for each status that an operation can end with."""
    assert {str(status) for status in PROBLEMS} <= rows(read("docs/api.md")).keys()


def test_every_scheme_is_documented():
    """docs/senders.md has every type that a source can have, as `clawback.senders.presets` knows them."""
    assert read("docs/senders.md") == write_senders()


@pytest.mark.parametrize("name", fields(News))
def test_the_feed_is_documented_with_its_fields(name):
    """docs/api.md names every field and every type of the feed's records."""
    section = read("docs/api.md").partition("## Follow what changes")[2].partition("\n## ")[0]

    assert f"`{name}`" in section
    assert [type_ for type_ in NewsType if f"`{type_}`" not in section] == []


def test_every_stream_is_documented():
    """docs/architecture.md has a row for every stream and bucket."""
    names = {"EVT0" if spec["name"].startswith("EVT") else spec["name"] for spec in layout.streams(8, 1)}
    first_cells = " ".join(rows(read("docs/architecture.md")))

    assert [name for name in names if name not in first_cells] == []


def test_the_table_of_questions_leads_to_files():
    """docs/architecture.md answers at least 20 questions, each with files of the source that are there."""
    section = read("docs/architecture.md").partition("## Where to look\n")[2].partition("\n## ")[0]
    answers = [re.findall(r"\[`([\w/.]+)`\]\(\.\./([\w/.]+)\)", line) for line in section.splitlines() if "?" in line]

    assert len(answers) >= 20
    assert all(answers), section
    assert [name for files in answers for name, path in files if path != f"src/clawback/{name}"] == []
    assert [path for files in answers for _, path in files if not (ROOT / path).is_file()] == []


def test_every_metric_is_documented():
    """docs/metrics.md has a row for every metric, which names its labels."""
    described = rows(read("docs/metrics.md"))

    for name, metric in METRICS.items():
        assert all(f"`{label}`" in described[name] for label in metric._labelnames), name


METRICS = {
    metric._name + ("_total" if isinstance(metric, Counter) else ""): metric
    for metric in vars(metrics).values()
    if isinstance(metric, Counter | Gauge | Histogram)
}


@pytest.mark.parametrize("name", ["docs/metrics.md", "docs/grafana/clawback.json", "docs/grafana/alerts.yaml"])
def test_a_metric_that_is_watched_exists(name):
    """What documents, dashboard and alerts name is counted, and every metric is on the dashboard."""
    named = {re.sub("_(bucket|count|sum)$", "", each) for each in re.findall(r"\bclawback_\w+", read(name))}

    assert named <= METRICS.keys()
    # Which build runs is no figure; it is there to be joined to others.
    assert name != "docs/grafana/clawback.json" or named | {"clawback_build_info"} == METRICS.keys()


def test_every_alert_is_explained():
    """docs/metrics.md says of each what to do."""
    groups = yaml.safe_load(read("docs/grafana/alerts.yaml"))["groups"]
    explained = re.findall(r"`(Clawback\w+)`", read("docs/metrics.md"))
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]

    assert sorted(alerts) == sorted(explained)
    assert all(rule["expr"] and rule["annotations"]["summary"] for group in groups for rule in group["rules"])
    assert json.loads(read("docs/grafana/clawback.json"))["panels"]


def anchors(document: str) -> set[str]:
    """Name the anchors that a document's headings have on GitHub."""
    headings = re.findall(r"^#+ (.*)$", document, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path):
    """Every link to a file finds it, and one with an anchor a heading."""
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path

        assert linked.exists(), f"{path.name} links to {target}, which is not there"
        assert not anchor or anchor in anchors(linked.read_text()), f"{target}: there is no such heading"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_named_test_exists(path):
    """Where a document says which test holds a promise, there is that test."""
    for name, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", path.read_text()):
        assert re.search(rf"^(async )?def {test}\(", read(name), re.MULTILINE), f"{name} has no {test}"


def test_promises_name_their_tests():
    """Every numbered promise of docs/guarantees.md names a test."""
    promises = read("docs/guarantees.md").partition("## Promises")[2].partition("\n## ")[0].split("\n\n**")[1:]

    assert len(promises) >= 10
    assert [promise[:40] for promise in promises if "::" not in promise] == []


def test_every_attack_names_a_test():
    """Each row of docs/security.md says what it is after and names a test; no number is used twice."""
    rows = re.split(r"\n\n(?=\*\*T)|\n## ", read("docs/security.md"))
    attacks = [row for row in rows if row.startswith("**T")]
    numbers = [int(re.match(r"\*\*T(\d+)\. ", row)[1]) for row in attacks]

    assert len(numbers) == len(set(numbers)) >= 20
    assert [row[:60] for row in attacks if not re.match(r"\*\*[^*]+\*\* \([^)]+\)\. ", row) or "::" not in row] == []


def test_every_fault_names_a_test():
    """Each row of docs/faults.md says what goes wrong and names a test; the numbers are 1 to 47, each once."""
    faults = [row for row in re.split(r"\n\n(?=\*\*F)|\n## ", read("docs/faults.md")) if row.startswith("**F")]
    numbers = [int(re.match(r"\*\*F(\d+)\. ", row)[1]) for row in faults]

    assert sorted(numbers) == [*range(1, 48)]
    assert [row[:60] for row in faults if not re.match(r"\*\*[^*]+\.\*\* \w", row) or "::" not in row] == []


def test_a_cited_decision_exists():
    """Code that cites a decision of ours by its number cites one that is there; numbers are used once."""
    decisions = [path.name[:4] for path in sorted((ROOT / "docs/adr").glob("*.md"))]
    cited = {number for path in SOURCES for number in re.findall(r"docs/adr/(\d{4})", path.read_text())}

    assert cited <= set(decisions)
    assert len(decisions) == len(set(decisions))


def test_a_cited_document_exists():
    """Where code names a document, and a section in quotes, both are there."""
    for path in SOURCES:
        for name, section in re.findall(r"(docs/[\w-]+\.md)(?:, '([^']+)')?", path.read_text()):
            assert (ROOT / name).exists(), f"{path} cites {name}"
            assert not section or re.search(rf"^#+ {section}$", read(name), re.MULTILINE), f"{name} has no {section!r}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_reader_may_type_is_there(path):
    """Every command, make target and script in a document's code exists."""
    text = path.read_text()
    code = "\n".join([*re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL), *re.findall(r"`[^`\n]+`", text)])
    # `clawback` alone is also a name (of a plugin, a server): a command is what starts a line, a pipe or a span.
    typed = re.findall(r"(?:^|[`|$(]) ?(?:\.venv/bin/)?clawback ((?:[a-z-]+ ?)+)", code, re.MULTILINE)
    targets = re.findall(r"(?:^|[`$]) ?make ([a-z]+)", code, re.MULTILINE)

    for words in typed:
        assert any(
            f"clawback {words}".startswith(name)
            or name == f"clawback {words.strip()}"
            or name.startswith(f"clawback {words.strip()} ")
            for name in COMMANDS
        ), f"{path.name}: clawback {words}"
    for target in targets:
        assert re.search(rf"^{target}:", read("Makefile"), re.MULTILINE), f"{path.name}: make {target}"
    for script in re.findall(r"docs/examples/\w+\.py", text):
        assert (ROOT / script).exists(), f"{path.name}: {script}"
