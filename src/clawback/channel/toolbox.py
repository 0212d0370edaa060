"""
The tools at work: a call is checked, asked of the server or answered from what this session holds, and put in words.

What each tool takes and says is declared in tools.py. Errors are sentences for Claude, name the parameter and quote no
free text, which may be a secret.
"""

import json
import secrets
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from clawback.channel.claude import fence
from clawback.channel.claude.reach import Reach
from clawback.channel.delivery import Delivery
from clawback.channel.remote import Remote
from clawback.channel.settings import config_path, read_config, write_config
from clawback.channel.tools import (
    FORMER,
    TOOLS,
    AccountInfo,
    EventAck,
    EventDefer,
    EventExtend,
    EventFail,
    EventNext,
    EventPayload,
    TokenRotate,
    Tool,
    tool_name,
)
from clawback.errors import ClawbackError, ConfigError, NotFound, Rejected, Unavailable
from clawback.model import UNTAGGED_NAME

OBSERVES = (
    "It takes no events: nobody sits at it (claude -p, or a program that runs Claude Code), and events that come here"
    " would be lost to the session that waits for them. CLAWBACK_SESSION=TAG gives such a run the events of a tag;"
    " `oneShotEvents` in the config, those without one."
)


def read_arguments(tool: type[Tool], arguments: dict[str, Any]) -> Tool:
    """
    Check the arguments of a call.

    Claude Code may send what is no text as JSON in a string (`"5"`, `"{...}"`): it is read where no text is accepted.

    Raises:
        Rejected: names the parameter and what is accepted; quotes no free text.
    """
    try:
        return msgspec.convert(_read_strings(tool, arguments), tool)
    except msgspec.ValidationError as error:
        problem = str(error).replace("Object missing required field", "missing the parameter")
        problem = problem.replace("Object contains unknown field", "unknown parameter").replace(" - at `$.", " at `")
        accepted = ", ".join(field.name for field in msgspec.structs.fields(tool)) or "none"
        raise Rejected(f"{tool_name(tool)}: {problem}. Its parameters: {accepted}.") from error


_TEXT = (inspect.StrType, inspect.EnumType)


@cache
def _kinds(tool: type[Tool]) -> dict[str, tuple[inspect.Type, ...]]:
    """Name what each parameter may be."""
    described = inspect.type_info(tool)
    assert isinstance(described, inspect.StructType), "a tool is a Struct"
    return {field.encode_name: _flat(field.type) for field in described.fields}


def _flat(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    match kind:
        case inspect.Metadata(type=inner):
            return _flat(inner)
        case inspect.UnionType(types=types):
            return tuple(flat for each in types for flat in _flat(each))
    return (kind,)


def _read_strings(tool: type[Tool], arguments: dict[str, Any]) -> dict[str, Any]:
    kinds = _kinds(tool)
    return {name: _read_string(value, kinds.get(name, ())) for name, value in arguments.items()}


def _read_string(value: Any, kinds: tuple[inspect.Type, ...]) -> Any:  # noqa: ANN401 -- JSON
    """Read a string as JSON where it cannot be meant as text; else it stays, and the check says what is accepted."""
    others = [kind for kind in kinds if not isinstance(kind, (*_TEXT, inspect.NoneType))]
    if not isinstance(value, str) or not others:
        return value
    try:
        read = json.loads(value)
    except ValueError:
        read = {"true": True, "false": False, "none": None}.get(value.strip().lower(), value)
    if isinstance(read, float) and read.is_integer():
        read = int(read)
    if any(isinstance(kind, _TEXT) for kind in kinds):
        # Both are accepted: only a list cannot be the one text that is (`full`, or a path).
        return read if isinstance(read, list) else value
    return read


class Toolbox:
    """The tools for one session tag, over one connection."""

    def __init__(self, session_tag: str | None, delivery: Delivery, remote: Remote, reach: Reach) -> None:
        self._session_tag = session_tag
        self._delivery = delivery
        self._remote = remote
        self._reach = reach

    def offered(self) -> dict[str, type[Tool]]:
        """Name the tools this config allows; all of them while there is none."""
        return {name: tool for name, tool in TOOLS.items() if not tool.messaging or _messaging_allowed()}

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """
        Carry out a tool call and return its text, in which nothing is a tag of Claude Code's.

        Raises:
            NotFound: there is no such tool, or the config switches it off.
            Rejected: a parameter is wrong, or the server refused.
            ClawbackError: why it cannot be done now, as a sentence for the user.
        """
        return fence.defuse(await self._call(name, arguments))

    async def _call(self, name: str, arguments: dict[str, Any]) -> str:
        tool = TOOLS.get(name) or FORMER.get(name)
        if tool is None:
            raise NotFound(f"There is no tool {name!r}; there are {', '.join(self.offered())}.")
        if tool.messaging and not _messaging_allowed():
            raise NotFound(f"{name} is switched off: `sessionMessaging` is false in {config_path()}.")
        return await self._carry_out(read_arguments(tool, arguments))

    async def _carry_out(self, call: Tool) -> str:
        match call:
            case EventAck(summary=summary, event_id=event_id):
                answer = self._delivery.acknowledge(event_id or None, summary)
                if answer.refused:
                    raise Rejected(f"{answer.text}{await self._say_if_away()}")
                return answer.text
            case EventNext():
                return await self._show_active()
            case EventPayload():
                return await self._read_payload(call)
            case EventExtend() | EventDefer() | EventFail():
                return await self._ask_about_held(call)
            case TokenRotate():
                return await self._rotate(call)
        data = None
        for request in call.requests(self._session_tag):
            data = await self._remote.ask(request)
        return f"{call.tell(data)}\n{self._describe_session()}" if isinstance(call, AccountInfo) else call.tell(data)

    async def _show_active(self) -> str:
        """
        Show the active event.

        Raises:
            Unavailable: there is none here, and the server cannot be asked whether one waits.
        """
        shown = self._delivery.active_text()
        if shown is None and (away := await self._remote.find_away()) is not None:
            raise Unavailable(f"{away} So whether an event waits for this session is not known.")
        return shown or f"No event waits for this session. {self._describe_session()}"

    async def _read_payload(self, call: EventPayload) -> str:
        call = msgspec.structs.replace(call, event_id=call.event_id or await self._find(None))
        try:
            return call.tell(await self._remote.ask(call.request(self._session_tag)))
        except Rejected as error:
            # It lists what there is in the payload.
            raise Rejected(fence.build_refusal(str(error), secrets.token_hex(8))) from error

    async def _find(self, event_id: str | None) -> str:
        try:
            return self._delivery.find(event_id)
        except Rejected as error:
            raise Rejected(f"{error}{await self._say_if_away()}") from error

    async def _say_if_away(self) -> str:
        away = await self._remote.find_away()
        return f" {away}" if away is not None else ""

    async def _ask_about_held(self, call: EventExtend | EventDefer | EventFail) -> str:
        event_id = await self._find(call.event_id or None)
        request = msgspec.structs.replace(call, event_id=event_id).request(self._session_tag)
        if isinstance(call, EventExtend):
            answer = call.tell(await self._remote.ask(request))
            self._delivery.extend(event_id, call.seconds)
            return answer
        self._delivery.give_back(event_id)
        try:
            return call.tell(await self._remote.ask(request))
        except Unavailable as error:
            raise Unavailable(
                f"{error} Event {event_id} is let go of here; what the server was not told of, it delivers again."
            ) from error

    def _describe_session(self) -> str:
        active, *others = self._delivery.held or ["no event"]
        further = f", and also holds {', '.join(others)}" if others else ""
        role = self._remote.role or "active"
        works = f"This session: {self._session_tag or UNTAGGED_NAME}, {role}, works on {active}{further}."
        return f"{works} {OBSERVES if role == 'observer' else self._reach.describe()}"

    async def _rotate(self, call: TokenRotate) -> str:
        config = read_config()
        write_config(config)  # proves that the file can be replaced, before the token in it stops working
        data = await self._remote.ask(call.request(self._session_tag))
        token = data["token"]
        try:
            path = write_config(msgspec.structs.replace(config, connection_token=token))
        except ConfigError as error:
            # Without it nobody could connect any more, so here it has to be shown.
            return f"{error} The old token is refused already; put this one into the file as `connectionToken`: {token}"
        return f"The token was replaced by {data['id']}, which is in {path} now (0600). This connection goes on."


def _messaging_allowed() -> bool:
    try:
        return read_config().session_messaging
    except ClawbackError:
        return True  # no config yet, so nothing is switched off
