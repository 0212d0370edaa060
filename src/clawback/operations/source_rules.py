"""
What a source may be: every field of a request checked, each refusal a sentence with the rule. Pure.

A source that could never accept a request, such as one whose secret is no key for its scheme, is refused here, where
its maker reads the reason, and not at the first webhook, where nobody does.
"""

import base64
import difflib
import re
from collections.abc import Callable, Collection, Sequence

from clawback import wire
from clawback.errors import Rejected
from clawback.fabric.subjects import normalise_tag
from clawback.fields import MAX_TIMEOUT_SECONDS, MIN_TIMEOUT_SECONDS
from clawback.model import DeliveryRule, EventTypeRule, Priority, Projection, Scheme, SignatureRule, TimestampRule
from clawback.payloads.paths import parse_selection
from clawback.senders.handshakes import keeps_secret
from clawback.senders.presets import PRESETS, mechanisms
from clawback.senders.request import MAX_PATH_DEPTH, MAX_TEXT_CHARACTERS
from clawback.senders.signatures import ALGORITHMS, ENCODINGS, KEY_FORMS, RULE_FIELDS, UNITS, template
from clawback.senders.verifying import RULED
from clawback.webhooks.conditions import compile_condition

MAX_INSTRUCTION_BYTES = 16 * 1024
"""Of a skill or prompt, as UTF-8; all of it goes in front of each event, and into a header of its message."""

MAX_SECRET_BYTES = 4096

OVERLAP_SECONDS = 24 * 3600
"""How long a source accepts its former secret unless told otherwise: Stripe's own bound, and a day for a person."""

MAX_OVERLAP_SECONDS = 7 * 24 * 3600

MAX_SECRETS = 4
"""Accepted at one time by one source, in overlaps that overlap: each is one more HMAC for each stranger's request."""

MAX_FIELDS = 50
"""Of a payload that is shown in part. They stand in the header of each event, so there is an end to them."""

MAX_TOLERANCE_SECONDS = 3600
"""Of a signed time: who needs longer has no clock."""

ANSWERS = (200, 201, 202, 204)

MAX_QUOTED = 80
"""Characters of a refused value that its refusal repeats."""

_SLUG = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")  # token of RFC 9110 section 5.6.2
_PREFIX = re.compile(r"[ -~]{0,64}")

_SETUP_WORD = re.compile(r"\{(?:url|secret|verify)\}")

_FIRST = (
    *("github", "gitlab", "bitbucket", "gitea", "linear", "jira", "sentry", "pagerduty", "grafana", "alertmanager"),
    *("datadog", "vercel", "stripe", "slack", "shopify"),
    *(row.name for row in mechanisms.ROWS),
)
_OTHERS = (
    f"{len(PRESETS) - len(_FIRST)} other senders are listed by `clawback source types` and GET /api/v1/source-types"
)
"""The names of all would be a page of text in a session."""

_WHSEC = "whsec_"

_SECRET_FORMS: dict[str, str] = {
    Scheme.STRIPE: "whsec_ and what Stripe shows after it; an API key (sk_…) is something else",
    Scheme.STANDARD_WEBHOOKS: "whsec_ followed by base64",
    "basic": "user:password, with the colon",
    Scheme.GITLAB: "a signing token, whsec_ followed by base64, or a secret token, which does not start like that",
}


def check_slug(slug: str) -> str:
    """
    Check the last part of a source's URL.

    Raises:
        Rejected: it could be read as something else in a URL or a path.
    """
    if not _SLUG.fullmatch(slug) or slug in (".", ".."):
        raise Rejected(
            f"slug refused, read {quoted(slug)}: a slug is 1 to 64 letters, digits and . _ -, and neither . nor .."
        )
    return slug


def list_types() -> list[dict[str, object]]:
    """List what a source's type can be, senders first, and how each is set up."""
    return [
        {
            "type": preset.name,
            "title": preset.title,
            "steps": preset.steps,
            "showsSecret": preset.shows_secret,
            "exampleType": preset.example_type,
        }
        for preset in PRESETS.values()
    ]


def check_scheme(name: str | None) -> str:
    """
    Check how the source's requests are signed. There is no default: the insecure one must be asked for.

    Raises:
        Rejected: it is missing or unknown.
    """
    accepted = ", ".join(_FIRST)
    if not name:
        raise Rejected(
            f"the verifier type is missing: choose one of {accepted} (none accepts requests that nobody signed;"
            f" {_OTHERS})"
        )
    if name not in PRESETS:
        near = difflib.get_close_matches(name[:64].lower(), PRESETS, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise Rejected(f"verifier type refused, read {quoted(name)}: accepted is one of {accepted} ({meant}{_OTHERS})")
    return name


def choose_secret(
    scheme: str, secret: str | None, *, generate: bool, random_bytes: Callable[[int], bytes]
) -> str | None:
    """
    Check the given secret, or make one where that is asked for; None where there is none, or its sender brings it.

    `random_bytes` is called with 32. A made secret is in the form that the scheme's senders take.

    Raises:
        Rejected: there is none, one too many, or it is no key for the scheme. The text never holds it.
    """
    if scheme == Scheme.NONE:
        if secret or generate:
            raise Rejected("type none checks no signature, so it has no secret: choose another type, or leave it out")
        return None
    if generate:
        if secret is not None:
            raise Rejected("both a secret and generateSecret: leave one of them out")
        return _make_secret(scheme, random_bytes)
    if not secret and awaits_secret(scheme):
        return None
    if secret is None:
        raise Rejected(
            f"the secret is missing: type {scheme} needs the one that the sender signs with"
            + ("" if PRESETS[scheme].shows_secret else ", or ask for a new one with generateSecret")
            + _where_to_find(scheme)
        )
    _check_secret(scheme, secret)
    return secret


def write_setup(scheme: str, url: str, *, secret: str | None = None, verify: str | None = None) -> list[str]:
    """Write what a person does at the sender. Without a secret to show, SECRET stands for it."""
    preset = PRESETS.get(scheme)
    if preset is None:
        return []
    words = {
        "{url}": url,
        "{secret}": secret or "SECRET",
        "{verify}": verify or "that was shown when the source was made, or the secret of this source",
    }
    lines = (*preset.steps, *([f"Or run: {preset.command}"] if preset.command else []))
    return [_SETUP_WORD.sub(lambda found: words[found[0]], line) for line in lines]


def awaits_secret(scheme: str) -> bool:
    """Whether the sender brings the secret in its first request, so that none need be given."""
    preset = PRESETS.get(scheme)
    return preset is not None and keeps_secret(preset.handshakes)


def check_overlap(seconds: int | None, *, rotated: bool) -> int:
    """
    Check how long the secret before the new one is accepted too; 0 ends it at once.

    Raises:
        Rejected: there is no new secret to overlap with, or it would be a second secret rather than an overlap.
    """
    if seconds is None:
        return OVERLAP_SECONDS
    if not rotated:
        raise Rejected(
            "overlapSeconds without a new secret: give secret or generateSecret too; the secret in use, given again"
            " with 0, ends the overlap"
        )
    if not 0 <= seconds <= MAX_OVERLAP_SECONDS:
        raise Rejected(
            f"overlapSeconds refused, read {seconds}: accepted is 0 (the old secret is refused at once) to"
            f" {MAX_OVERLAP_SECONDS}, which is 7 days"
        )
    return seconds


def _make_secret(scheme: str, random_bytes: Callable[[int], bytes]) -> str:
    preset = PRESETS[scheme]
    if preset.shows_secret:
        raise Rejected(f"{preset.title} takes no secret of ours{_where_to_find(scheme)}")
    key = random_bytes(32)
    if preset.key_secret:
        # GitLab takes such a one as a signing token: the request is then signed, not just accompanied by its secret.
        return _WHSEC + base64.b64encode(key).decode()
    if preset.rows and not any(row.key(key.hex().encode()) for row in preset.rows):
        return f"clawback:{key.hex()}"
    return key.hex()


def _where_to_find(scheme: str) -> str:
    if not PRESETS[scheme].shows_secret:
        return ""
    return (
        f": {PRESETS[scheme].title} shows its own once the webhook's URL is entered there, which account_info tells"
        " (webhookBaseUrl, a slash and the slug)"
    )


def _check_secret(scheme: str, secret: str) -> None:
    encoded = check_text(secret, "secret")
    if not secret:
        raise Rejected("the secret is empty, and anybody could sign with that: give the one that the sender signs with")
    if secret != secret.strip():
        raise Rejected("the secret begins or ends with white space, which belongs to no secret: give it without")
    if len(encoded) > MAX_SECRET_BYTES:
        raise Rejected(f"the secret has {len(encoded)} bytes: accepted are at most {MAX_SECRET_BYTES}")
    fits = scheme in RULED or any(row.key(encoded) for row in PRESETS[scheme].rows)
    if not fits or (scheme == Scheme.STRIPE and not secret.startswith(_WHSEC)):
        form = _SECRET_FORMS.get(scheme, f"what {PRESETS[scheme].title} shows, as it shows it")
        raise Rejected(f"the secret is not one of type {scheme}, which is {form}")


def check_instruction(text: str | None, name: str) -> str | None:
    """
    Check a skill or prompt; an empty one is none.

    Raises:
        Rejected: it is too long, or holds a NUL.
    """
    if not text:
        return None
    if (size := len(check_text(text, name))) > MAX_INSTRUCTION_BYTES:
        raise Rejected(f"{name} has {size} bytes: accepted are at most {MAX_INSTRUCTION_BYTES}")
    return text


def check_condition(text: str | None, name: str) -> str | None:
    """
    Check a condition; an empty one is none.

    Raises:
        Rejected: it is no CEL, reads a header that proves who sent a request, or has no end; says where.
    """
    if not text or not text.strip():
        return None
    compile_condition(text, name)
    return text


def check_names(names: Sequence[str] | None, name: str) -> tuple[str, ...]:
    """
    Check names of senders.

    Raises:
        Rejected: one of them is empty, or more than a name.
    """
    for each in names or ():
        if not each.strip() or len(each) > MAX_TEXT_CHARACTERS or not each.isprintable():
            raise Rejected(
                f"{name} refused, read {quoted(each)}: it is the name of a sender such as my-bot[bot], of at most"
                f" {MAX_TEXT_CHARACTERS} characters"
            )
    return tuple(each.strip() for each in names or ())


def check_line(text: str, name: str) -> str | None:
    """
    Check a line for people; an empty one is none. Its length is bounded where it is declared.

    Raises:
        Rejected: it has more than one line, or characters that no screen shows.
    """
    check_text(text, name)
    if (wrong := next((each for each in text if not each.isprintable()), None)) is not None:
        raise Rejected(f"{name} refused, it holds {quoted(wrong)}: it is one line of text for people")
    return text.strip() or None


def check_event_type(rule: EventTypeRule | None) -> EventTypeRule | None:
    """
    Check where the event type is read.

    Raises:
        Rejected: it names no place, or one that cannot be read.
    """
    if rule is None or rule == EventTypeRule():
        return None
    if not (rule.header or rule.body):
        raise Rejected("eventType has an action alone: name the header or the body path of the type it is appended to")
    if rule.header is not None:
        _check_header(rule.header, "eventType.header")
    for name, path in (("eventType.body", rule.body), ("eventType.action", rule.action)):
        if path is not None:
            _check_path(path, name)
    return rule


def check_delivery_id(rule: DeliveryRule | None) -> DeliveryRule | None:
    """
    Check where the id of a delivery is read.

    Raises:
        Rejected: it names no place, or one that cannot be read.
    """
    if rule is None or rule == DeliveryRule():
        return None
    if rule.header is not None:
        _check_header(rule.header, "deliveryId.header")
    if rule.body is not None:
        _check_path(rule.body, "deliveryId.body")
    return rule


def check_answer(status: int) -> int:
    """
    Check the status of success.

    Raises:
        Rejected: no sender takes it for success.
    """
    if status not in ANSWERS:
        raise Rejected(
            f"answer refused, read {status}: accepted is one of {', '.join(map(str, ANSWERS))}, the HTTP statuses of"
            " success; 204 has no body"
        )
    return status


def choose_type(verifier_type: str | None, other: str | None) -> str | None:
    """
    Choose between the two names of one field.

    Raises:
        Rejected: they say different things.
    """
    if verifier_type and other and verifier_type != other:
        raise Rejected(
            f"verifierType reads {quoted(verifier_type)} and type {quoted(other)}: they are one field; give one"
        )
    return verifier_type or other


def _check_path(path: str, name: str) -> None:
    check_text(path, name)
    steps = path.split(".")
    if not all(steps) or len(steps) > MAX_PATH_DEPTH or len(path) > MAX_TEXT_CHARACTERS:
        raise Rejected(
            f"{name} refused, read {quoted(path)}: it is a path of field names with dots between them, such as"
            f" data.object.status, at most {MAX_PATH_DEPTH} deep and {MAX_TEXT_CHARACTERS} characters long"
        )


def check_signature(rule: SignatureRule | None, scheme: str) -> SignatureRule | None:
    """
    Check how an `hmac` source is signed.

    Raises:
        Rejected: the type is not `hmac`, or the header, algorithm, encoding or prefix is none.
    """
    if rule is None:
        return None
    if scheme not in RULED:
        raise Rejected(
            f"signature is for type hmac, or generic, its older name; {scheme} has its own rules: leave it out, or"
            " choose hmac"
        )
    _check_header(rule.header, "signature.header")
    for name, value, accepted in (("algorithm", rule.algorithm, ALGORITHMS), ("encoding", rule.encoding, ENCODINGS)):
        if value not in accepted:
            raise Rejected(f"signature.{name} refused, read {quoted(value)}: accepted is one of {', '.join(accepted)}")
    _check_template(rule)
    if rule.prefix is not None and not _PREFIX.fullmatch(rule.prefix):
        raise Rejected(
            f"signature.prefix refused, read {quoted(rule.prefix)}: it is at most 64 printable ASCII characters"
        )
    return rule


def warn_of(scheme: str, priorities: Collection[Priority]) -> str | None:
    """Say in a sentence what the owner of such a source takes upon themselves; None where there is nothing to say."""
    if scheme != Scheme.NONE or Priority.INTERRUPT not in priorities:
        return None
    return (
        "type none with priority interrupt: anyone who knows the URL can stop what the session does at any moment. Keep"
        " the URL secret, or choose a type with signatures"
    )


def _check_template(rule: SignatureRule) -> None:
    """Check what is signed, and where the time and further signatures stand."""
    fields = {piece[0] for piece in template(rule.signed) if isinstance(piece, tuple)}
    if (
        not rule.signed.isprintable()
        or len(rule.signed) > MAX_TEXT_CHARACTERS
        or "body" not in fields
        or not fields <= RULE_FIELDS
    ):
        raise Rejected(
            f"signature.signed refused, read {quoted(rule.signed)}: it is what is signed, {{body}} among it, and may"
            " hold {timestamp} {url} {method} {path} {query} {header:NAME} {json:PATH} {form:NAME}"
        )
    if rule.key not in KEY_FORMS:
        raise Rejected(f"signature.key refused, read {quoted(rule.key)}: accepted is one of {', '.join(KEY_FORMS)}")
    if len(rule.separator) > 1 or not rule.separator.isascii() or not rule.separator.isprintable():
        raise Rejected(
            f"signature.separator refused, read {quoted(rule.separator)}: it is one character, such as a comma,"
            " between several signatures in one header"
        )
    if ("timestamp" in fields) is not (rule.timestamp is not None):
        raise Rejected(
            "signature.timestamp and {timestamp} in signature.signed belong together: a time that nobody signed proves"
            " nothing, and one that nobody can find cannot be signed; give both or neither"
        )
    if rule.timestamp is not None:
        _check_timestamp(rule.timestamp, rule.separator)


def _check_timestamp(known: TimestampRule, separator: str) -> None:
    given = [each for each in (known.header, known.field, known.body) if each is not None]
    if len(given) != 1 or known.unit not in UNITS or not 1 <= known.tolerance_seconds <= MAX_TOLERANCE_SECONDS:
        raise Rejected(
            "signature.timestamp refused: it is one of header, field (of the signature's header) and body (a path); a"
            f" unit, one of {', '.join(UNITS)}; and toleranceSeconds of 1 to {MAX_TOLERANCE_SECONDS}"
        )
    if known.header is not None:
        _check_header(known.header, "signature.timestamp.header")
    if known.body is not None:
        _check_path(known.body, "signature.timestamp.body")
    if known.field is not None and (not separator or not _PREFIX.fullmatch(known.field)):
        raise Rejected("signature.timestamp.field is a name such as t, and needs signature.separator beside it")


def check_timeout(seconds: int) -> int:
    """
    Check how long an event may be active.

    Raises:
        Rejected: nobody could finish in that time, or a line would stand still for days.
    """
    if not MIN_TIMEOUT_SECONDS <= seconds <= MAX_TIMEOUT_SECONDS:
        raise Rejected(
            f"timeoutSeconds refused, read {seconds}: accepted is {MIN_TIMEOUT_SECONDS} to {MAX_TIMEOUT_SECONDS};"
            " one event that needs longer is given more time with event_extend"
        )
    return seconds


def choose_tag(request: wire.SourceCreate | wire.CronCreate, callers_tag: str | None) -> str | None:
    """
    Choose the session that the events of a source or cron go to: the one named, else the caller's own.

    Raises:
        Rejected: the name is no tag.
    """
    return callers_tag if request.session_tag is None else normalise_tag(request.session_tag)


def _check_header(name: str, field: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise Rejected(f"{field} refused, read {quoted(name)}: it is the name of an HTTP header, such as X-Signature")


def check_text(text: str, name: str) -> bytes:
    """Encode text that will be stored and sent on; NUL and half a surrogate pair survive too few programs."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise Rejected(f"{name} holds half a surrogate pair, which is no text: send it as UTF-8") from None
    if b"\0" in encoded:
        raise Rejected(f"{name} holds a NUL character: leave it out")
    return encoded


def quoted(text: str) -> str:
    """Quote what was read, in ASCII and cut: it may be anything."""
    shown = ascii(text)
    return shown if len(shown) <= MAX_QUOTED else f"{shown[:MAX_QUOTED]}…"


def check_payload(payload: str | Sequence[str] | None, scheme: str) -> Projection | None:
    """
    Check which part of a payload is to be shown: `full`, `compact`, or the fields at dotted paths; None for all of it.

    Raises:
        Rejected: it is none of these, or a path is none.
    """
    if not payload or payload == "full":
        return None
    if payload == "compact":
        return Projection(compact=scheme)
    if isinstance(payload, str):
        raise Rejected(
            f"payload refused, read {payload[:MAX_QUOTED]!a}: accepted are full, compact, or a list of dotted paths"
            " such as pull_request.title"
        )
    if len(payload) > MAX_FIELDS or not all(payload):
        raise Rejected(
            f"payload refused, read {len(payload)} fields: accepted are 1 to {MAX_FIELDS} dotted paths, none of them"
            " empty"
        )
    parse_selection(payload)
    return Projection(fields=tuple(payload))


def write_payload(projection: Projection | None) -> str | tuple[str, ...] | None:
    """Write it as it is asked for; None for all of it."""
    return None if projection is None else projection.fields or "compact"
