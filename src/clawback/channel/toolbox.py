"""
The tools at work: a call is checked, asked of the server or answered from what this session holds, and put in words.

What each tool takes and says is declared in tools.py. Errors are sentences for Claude, name the parameter and quote no
free text, which may be a secret.
"""

from typing import Any

import msgspec

from clawback.channel.claude.reach import Reach
from clawback.channel.delivery import Delivery
from clawback.channel.remote import Remote
from clawback.channel.settings import config_path, read_config, write_config
from clawback.channel.tools import (
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


def read_arguments(tool: type[Tool], arguments: dict[str, Any]) -> Tool:
    """
    Check the arguments of a call.

    Raises:
        Rejected: names the parameter and what is accepted; quotes no free text.
    """
    try:
        return msgspec.convert(arguments, tool)
    except msgspec.ValidationError as error:
        problem = str(error).replace("Object missing required field", "missing the parameter")
        problem = problem.replace("Object contains unknown field", "unknown parameter").replace(" - at `$.", " at `")
        accepted = ", ".join(field.name for field in msgspec.structs.fields(tool)) or "none"
        raise Rejected(f"{tool_name(tool)}: {problem}. Its parameters: {accepted}.") from error


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
        Carry out a tool call and return its text.

        Raises:
            NotFound: there is no such tool, or the config switches it off.
            Rejected: a parameter is wrong, or the server refused.
            ClawbackError: why it cannot be done now, as a sentence for the user.
        """
        tool = TOOLS.get(name)
        if tool is None:
            raise NotFound(f"There is no tool {name!r}; there are {', '.join(self.offered())}.")
        if tool.messaging and not _messaging_allowed():
            raise NotFound(f"{name} is switched off: `sessionMessaging` is false in {config_path()}.")
        match read_arguments(tool, arguments):
            case EventAck(summary=summary, event_id=event_id):
                answer = self._delivery.acknowledge(event_id or None, summary)
                if answer.refused:
                    raise Rejected(answer.text)
                return answer.text
            case EventNext():
                return self._delivery.active_text() or f"No event waits for this session. {self._describe_session()}"
            case (EventExtend() | EventDefer() | EventFail()) as call:
                return await self._ask_about_held(call)
            case TokenRotate() as call:
                return await self._rotate(call)
            case AccountInfo() as call:
                data = await self._remote.ask(call.request(self._session_tag))
                return f"{call.answer(data)}\n{self._describe_session()}"
            case call:
                if isinstance(call, EventPayload) and not call.event_id:
                    call = msgspec.structs.replace(call, event_id=self._delivery.find(None))
                return call.answer(await self._remote.ask(call.request(self._session_tag)))

    async def _ask_about_held(self, call: EventExtend | EventDefer | EventFail) -> str:
        event_id = self._delivery.find(call.event_id or None)
        request = msgspec.structs.replace(call, event_id=event_id).request(self._session_tag)
        if isinstance(call, EventExtend):
            return call.answer(await self._remote.ask(request))
        self._delivery.give_back(event_id)
        try:
            return call.answer(await self._remote.ask(request))
        except Unavailable as error:
            raise Unavailable(
                f"{error} Event {event_id} is let go of here; what the server was not told of, it delivers again."
            ) from error

    def _describe_session(self) -> str:
        active, *others = self._delivery.held or ["no event"]
        further = f", and also holds {', '.join(others)}" if others else ""
        works = f"This session: {self._session_tag or UNTAGGED_NAME}, {self._remote.role}, works on {active}{further}."
        return f"{works} {self._reach.describe()}"

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
