"""Types that are no sender: what a source without a preset is made of, and the open standard. Pure."""

from clawback.senders.preset import Places, Preset
from clawback.senders.signatures import BASIC_AUTH, BEARER, IN_URL, OWN_HEADER, standard

ROWS = (
    Preset(
        name="standard-webhooks",
        title="Standard Webhooks",
        rows=(standard("Webhook"), standard("Svix")),
        type=Places(paths=("type",)),
        source="github.com/standard-webhooks, specification 1.0.0; docs.svix.com for the older names",
        key_secret=True,
        steps=("Enter the URL {url} and the secret {secret} at the sender.",),
        example_type="invoice.paid",
    ),
    Preset(
        name="hmac",
        title="HMAC, as `signature` describes it",
        rows=(),
        steps=(
            "Enter the URL {url} and the secret {secret} at the sender, and describe its signature in `signature`.",
        ),
    ),
    Preset(
        name="generic",
        title="HMAC, by its older name",
        rows=(),
        steps=(
            "Enter the URL {url} and the secret {secret} at the sender, and describe its signature in `signature`.",
        ),
    ),
    Preset(
        name="token",
        title="A token in a header",
        rows=(BEARER, OWN_HEADER),
        steps=(
            "Let the sender call {url} with the header Authorization: Bearer {secret}, or X-Webhook-Token: {secret}.",
        ),
    ),
    Preset(
        name="basic",
        title="HTTP basic authentication",
        rows=(BASIC_AUTH,),
        steps=("Let the sender call {url} with the user and password of the secret.",),
    ),
    Preset(
        name="query",
        title="A token in the URL",
        rows=(IN_URL,),
        steps=(
            "Enter the URL {url}?token={secret} at the sender. Whoever reads its logs or settings can send events.",
        ),
    ),
    Preset(name="none", title="Nothing: anyone who knows the URL can send", rows=(), steps=("Enter the URL {url}.",)),
)
