"""`clawback doctor`: look at everything between a webhook and Claude, and say what to do about what is wrong."""

import asyncio
import os
from collections.abc import Sequence

from clawback import __version__
from clawback.channel.settings import PluginConfig
from clawback.commands import checks, facts
from clawback.commands.checks import Finding, Level
from clawback.commands.probe import probe
from clawback.errors import Rejected
from clawback.fabric.subjects import normalise_tag

_MARKS = {Level.OK: "ok  ", Level.WARN: "warn", Level.FAIL: "FAIL"}


async def examine(*, with_probe: bool) -> list[Finding]:
    """
    Check this machine and its server, in the order in which things depend on each other.

    `with_probe` sends an event through the whole way as well, if the server takes the token.
    """
    file, config = facts.look_at_config()
    files = facts.here()
    program = asyncio.create_task(facts.find_claude(), name="claude --version")
    findings = [*checks.check_config(file), _check_own_tag()]
    if config is not None:
        findings += await _examine_server(config)
    if file.remote is not None:
        findings.append(checks.check_messaging(file))
    claude = await program
    findings.append(checks.check_claude(claude))
    findings += checks.check_gates(facts.variables_of(os.environ, files))
    findings += checks.check_ways(facts.find_channels())
    findings += checks.check_registration(claude, files.registrations())
    if with_probe and config is not None and any(each.check == "sessions" for each in findings):
        findings += await probe(config)
    return findings


async def _examine_server(config: PluginConfig) -> list[Finding]:
    base = facts.build_base_url(config.remote)
    async with facts.http_client(base) as client:
        (health, skew), (readiness, _), greeting = await asyncio.gather(
            facts.fetch_page(client, f"{base}/healthz"),
            facts.fetch_page(client, f"{base}/readyz"),
            facts.greet(config),
        )
    found = [checks.check_health(health)]
    if health.status is None:
        return found  # the rest would say the same again
    found += [checks.check_readiness(readiness), checks.check_clock(skew), checks.check_token(greeting)]
    if greeting.problem is None:
        found += [checks.check_protocol(greeting, __version__), checks.check_sessions(greeting)]
        found.append(checks.check_sources(greeting))
    return found


def _check_own_tag() -> Finding:
    written = os.environ.get("CLAWBACK_SESSION", "").strip()
    try:
        normalise_tag(written)
    except Rejected as error:
        return checks.check_tag(written, str(error))
    return checks.check_tag(written, None)


def failed(findings: Sequence[Finding]) -> bool:
    """Say whether something keeps events from reaching Claude."""
    return any(each.level is Level.FAIL for each in findings)


def write_report(findings: Sequence[Finding]) -> str:
    """Write the findings for a person, one a line, what to do below it."""
    width = max(len(each.check) for each in findings)
    lines = []
    for each in findings:
        took = f" ({each.took_ms:g} ms)" if each.took_ms is not None else ""
        lines.append(f"{_MARKS[each.level]}  {each.check:<{width}}  {each.found}{took}")
        if each.todo:
            lines.append(f"{'':<{width + 8}}{'do' if each.level is not Level.OK else 'note'}: {each.todo}")
    counts = {level: sum(each.level is level for each in findings) for level in Level}
    lines.append(f"\n{len(findings)} checked: {counts[Level.FAIL]} failed, {counts[Level.WARN]} to look at.")
    return "\n".join(lines)
