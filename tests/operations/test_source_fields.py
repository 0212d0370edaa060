"""The declared fields of a source: each at every door, by one declaration."""

import msgspec
import pytest

from clawback import wire
from clawback.api import sources as api
from clawback.channel.tools import TOOLS
from clawback.errors import Rejected
from clawback.fields import SourceFields, fields_of
from clawback.model import Priority, Source
from clawback.operations.source_fields import FIELDS, RULES, check_fields, gives_order, write_fields

DECLARED = {field.wire_name for field in fields_of(SourceFields)}
PLAIN = [field.name for field, _ in FIELDS if field.name not in RULES]


def names(shape):
    """Name a shape's fields as they are written."""
    return {field.encode_name for field in msgspec.structs.fields(shape)}


@pytest.mark.parametrize("shape", [wire.SourceCreate, wire.SourceUpdate, api.NewSource, api.SourceChange, api.Source])
def test_every_request_and_answer_has_every_field(shape):
    """None of them has a list of its own."""
    assert names(shape) >= DECLARED


@pytest.mark.parametrize("name", ["source_create", "source_update"])
def test_every_field_is_a_parameter(name):
    """A tool has them all, and each reaches the request that it makes."""
    tool = TOOLS[name]
    asked = {tool.wire_names.get(parameter, parameter) for parameter in tool.__struct_fields__}

    assert {field.name for field in fields_of(SourceFields)} <= asked
    assert asked <= set(tool.asks.__struct_fields__)


def test_every_field_is_stored():
    """The record has a place for each, with a default: records of earlier versions have none."""
    stored = {field.name: field.required for field in msgspec.structs.fields(Source)}

    assert [stored[rule.stored or field.name] for field, rule in FIELDS if rule.stored != "tag"].count(True) == 0
    assert set(RULES) <= {field.name for field, _ in FIELDS}


def test_a_plain_field_needs_no_rule():
    """`note` is only declared and stored: its text is one line, and an empty one is none."""
    request = wire.SourceUpdate(request_id="1", source_id="s", note="  for the night shift ")

    assert "note" in PLAIN
    assert check_fields(request, "github") == {"note": "for the night shift"}
    assert check_fields(msgspec.structs.replace(request, note=""), "github") == {"note": None}
    with pytest.raises(Rejected, match="note refused"):
        check_fields(msgspec.structs.replace(request, note="a\u202eb"), "github")


def test_a_record_of_an_earlier_version_is_read():
    """It has none of the newer fields, and is answered without them."""
    stored = (
        b'{"id":"s","profileId":"p","slug":"hub","scheme":"github","createdAt":"2026-01-01T00:00:00Z","skill":"/go"}'
    )
    shown = write_fields(msgspec.json.decode(stored, type=Source))

    assert {name: value for name, value in shown.items() if value is not None} == {
        "skill": "/go",
        "priority": Priority.NORMAL,
    }


def test_only_orders_need_the_leave_of_their_session():
    """What a source orders, to whom and how urgently; a note is no order."""
    assert [name for name in Source.__struct_fields__ if gives_order({name: None})] == [
        "skill",
        "routes",
        "tag",
        "priority",
        "condition",
        "not_from",
    ]
