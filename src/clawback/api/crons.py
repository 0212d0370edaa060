"""`/crons`: prompts that become events at the times of a schedule."""

from datetime import datetime
from typing import Annotated, Any

from litestar import Controller, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, UnsetType

from clawback import wire
from clawback.api.answers import Answer, created, documented
from clawback.api.asking import Ask
from clawback.api.requests import After, Body, PageLimit
from clawback.api.sources import SetBy, Tag
from clawback.model import Missed, Overlap, Priority
from clawback.operations.crons import MAX_JITTER_SECONDS, MAX_LABEL_CHARACTERS

Schedule = Annotated[str, Meta(description="Five fields, such as 0 9 * * MON-FRI, or @daily and the like")]
Once = Annotated[str, Meta(description="Instead of a schedule: one time, in the zone where it has no offset")]
Prompt = Annotated[str, Meta(description="What the session is to do, or a skill; at most 16 KiB")]
Zone = Annotated[str, Meta(description="An IANA name; without one what the profile says")]
Jitter = Annotated[int, Meta(ge=0, le=MAX_JITTER_SECONDS, description="How much later than due it runs at most")]
Label = Annotated[str, Meta(max_length=MAX_LABEL_CHARACTERS)]


class Cron(Answer, frozen=True):
    """A cron. `nextRuns` are by the clock of its zone, so that a wrong zone shows. A disabled one has a reason."""

    id: str
    schedule: str | UnsetType = UNSET
    once: datetime | UnsetType = UNSET
    prompt: str | UnsetType = UNSET
    label: str | UnsetType = UNSET
    session_tag: str | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    missed: Missed | UnsetType = UNSET
    overlap: Overlap | UnsetType = UNSET
    jitter_seconds: int | UnsetType = UNSET
    paused: bool | UnsetType = UNSET
    next_run_at: datetime | UnsetType = UNSET
    next_runs: Annotated[list[str], Meta(description="The next three, none while paused")] | UnsetType = UNSET
    last_run_at: datetime | UnsetType = UNSET
    set_by: SetBy | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class CronRun(Cron, frozen=True, kw_only=True):
    """A cron that was run at once, and the event that this made."""

    event_id: str


class CronList(Answer, frozen=True):
    """The profile's crons, oldest first."""

    items: list[Cron]


class NewCron(Body, frozen=True):
    """A cron to be made, with either a schedule or one time; each field as of cron_create in docs/protocol.md."""

    prompt: Prompt
    schedule: Schedule | None = None
    once: Once | None = None
    label: Label | None = None
    session_tag: Tag | None = None
    priority: Priority | None = None
    timezone: Zone | None = None
    missed: Missed | None = None
    overlap: Overlap | None = None
    jitter_seconds: Jitter | None = None


class CronChange(Body, frozen=True):
    """What is to be changed; what is left out stays as it is. With other times the cron begins anew."""

    schedule: Schedule | None = None
    once: Once | None = None
    prompt: Prompt | None = None
    label: Label | None = None
    session_tag: Tag | None = None
    priority: Priority | None = None
    timezone: Zone | None = None
    missed: Missed | None = None
    overlap: Overlap | None = None
    jitter_seconds: Jitter | None = None


EXAMPLE = {
    "id": "crn_x3jv6r2k7nsa5xweq4bd",
    "schedule": "0 9 * * MON-FRI",
    "prompt": "Summarise the open pull requests",
    "label": "morning",
    "priority": "normal",
    "timezone": "Europe/Berlin",
    "missed": "latest",
    "overlap": "queue",
    "nextRunAt": "2027-02-01T08:00:00Z",
    "nextRuns": ["2027-02-01T09:00:00+01:00", "2027-02-02T09:00:00+01:00", "2027-02-03T09:00:00+01:00"],
}
PAUSED = {name: value for name, value in EXAMPLE.items() if name != "nextRunAt"} | {"paused": True, "nextRuns": []}


class CronController(Controller):
    """Crons."""

    path = "/crons"
    tags = ("crons",)

    @get(operation_id="cron_list", summary="List crons", responses=documented(200, CronList, {"items": [EXAMPLE]}, 400))
    async def list_all(self, ask: Ask, limit: PageLimit = None, after: After = None) -> object:
        """List the profile's crons, oldest first, each with its zone and its next three runs."""
        return await ask.all(wire.CronList, limit=limit, after=after)

    @get(
        "/{cron_id:str}", operation_id="cron_get", summary="Show a cron", responses=documented(200, Cron, EXAMPLE, 404)
    )
    async def one(self, ask: Ask, cron_id: FromPath[str]) -> object:
        """Show one of the profile's crons."""
        return await ask.one(wire.CronList, "cron", cron_id)

    @post(operation_id="cron_create", summary="Make a cron", responses=documented(201, Cron, EXAMPLE, body=True))
    async def create(self, ask: Ask, data: JSONBody[NewCron]) -> Response[dict[str, Any]]:
        """Make a cron. The answer shows the zone and the next three runs: check what was understood."""
        answer = await ask.body(wire.CronCreate, data)
        return created(answer, f"/crons/{answer['id']}")

    @patch(
        "/{cron_id:str}",
        operation_id="cron_update",
        summary="Change a cron",
        responses=documented(200, Cron, EXAMPLE, 404, body=True),
    )
    async def update(self, ask: Ask, cron_id: FromPath[str], data: JSONBody[CronChange]) -> object:
        """Change what is given of a cron. With other times nothing that was due before is made up for."""
        return await ask.body(wire.CronUpdate, data, cron_id=cron_id)

    @delete(
        "/{cron_id:str}",
        operation_id="cron_delete",
        summary="Delete a cron",
        responses=documented(204, None, None, 404),
    )
    async def delete(self, ask: Ask, cron_id: FromPath[str]) -> None:
        """Delete a cron. Events of it that wait are delivered."""
        await ask.remove(wire.CronDelete, "cron", cron_id=cron_id)

    @post(
        "/{cron_id:str}/pause",
        operation_id="cron_pause",
        summary="Pause a cron",
        status_code=200,
        responses=documented(200, Cron, PAUSED, 404),
    )
    async def pause(self, ask: Ask, cron_id: FromPath[str]) -> object:
        """Have a cron not run until it is resumed."""
        return await ask(wire.CronPause, cron_id=cron_id)

    @post(
        "/{cron_id:str}/resume",
        operation_id="cron_resume",
        summary="Resume a cron",
        status_code=200,
        responses=documented(200, Cron, EXAMPLE, 404),
    )
    async def resume(self, ask: Ask, cron_id: FromPath[str]) -> object:
        """Have a cron run again, from now on."""
        return await ask(wire.CronResume, cron_id=cron_id)

    @post(
        "/{cron_id:str}/run",
        operation_id="cron_run_now",
        summary="Run a cron once more, now",
        status_code=200,
        responses=documented(200, CronRun, EXAMPLE | {"eventId": "evt_9f86d081884c7d659a2feaa0c55ad015"}, 404),
    )
    async def run(self, ask: Ask, cron_id: FromPath[str]) -> object:
        """Store an event of a cron at once. Its schedule stays as it is."""
        return await ask(wire.CronRunNow, cron_id=cron_id)
