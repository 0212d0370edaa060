"""`/config`: sources and crons as one value, read and put."""

from typing import Annotated, Any, Literal

from litestar import Controller, get, put
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta

from clawback.api.answers import Answer, documented
from clawback.api.asking import Ask
from clawback.api.requests import Body
from clawback.operations.config import MAX_ENTRIES, Config, ConfigCron, ConfigSource, apply_config, show_config


class ConfigBody(Body, frozen=True):
    """What there is to be. A kind that is absent is left as it is."""

    sources: Annotated[dict[str, ConfigSource], Meta(max_length=MAX_ENTRIES)] | None = None
    crons: Annotated[dict[str, ConfigCron], Meta(max_length=MAX_ENTRIES)] | None = None


class ConfigShown(Answer, frozen=True):
    """Sources by their slugs and crons by their labels, as they can be put. Secrets are not in it."""

    sources: dict[str, Any]
    crons: dict[str, Any]


class ConfigChange(Answer, frozen=True):
    """One difference, and the fields that change in it."""

    kind: Literal["source", "cron"]
    name: str
    action: Literal["create", "update", "delete"]
    fields: Annotated[dict[str, Any], Meta(description="By the field: from what to what")]


class ConfigApplied(Answer, frozen=True):
    """What was done, or would be."""

    dry_run: bool
    changes: list[ConfigChange]
    unchanged: int
    secrets: Annotated[dict[str, str], Meta(description="By slug: those that the server made, this once")]


EXAMPLE = {
    "sources": {"demo": {"type": "github", "routes": {"pull_request.opened": "/review"}, "sessionTag": "builds"}},
    "crons": {"morning": {"schedule": "0 9 * * MON-FRI", "prompt": "Summarise the open pull requests"}},
}
APPLIED = {
    "dryRun": True,
    "changes": [{"kind": "source", "name": "demo", "action": "update", "fields": {"note": {"from": None, "to": "x"}}}],
    "unchanged": 1,
    "secrets": {},
}


class ConfigController(Controller):
    """The configuration."""

    path = "/config"
    tags = ("config",)

    @get(operation_id="config_get", summary="Show the configuration", responses=documented(200, ConfigShown, EXAMPLE))
    async def show(self, ask: Ask) -> object:
        """Show all sources and crons as one value, which changes nothing when it is put."""
        return await show_config(ask.services, ask.caller)

    @put(
        operation_id="config_put",
        summary="Apply a configuration",
        responses=documented(200, ConfigApplied, APPLIED, 404, 409, body=True),
    )
    async def apply(
        self,
        ask: Ask,
        data: JSONBody[ConfigBody],
        dry_run: Annotated[bool, QueryParameter(name="dryRun", description="Only say what would be done")] = False,  # noqa: FBT002 -- a query
        prune: Annotated[bool, QueryParameter(description="Delete what it does not name, of the kinds it has")] = False,  # noqa: FBT002 -- a query
    ) -> object:
        """
        Make sources and crons what is said, one after the other; what is so already is not touched.

        All of it is checked first. Where it is cut short, putting it again goes on.
        """
        config = Config(data.sources, data.crons)
        return await apply_config(ask.services, ask.caller, config, dry_run=dry_run, prune=prune)
