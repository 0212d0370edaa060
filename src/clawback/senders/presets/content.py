"""Where documents, forms, customers and calendars are kept. Pure."""

from clawback.senders.handshakes import Handshake, Says, ping
from clawback.senders.preset import Places, Preset
from clawback.senders.signatures import Clock, InBody, InHeader, InQuery, InSignature, as_plain_base64, header

ROWS = (
    Preset(
        name="zendesk",
        title="Zendesk",
        # The secret looks like base64, and is not decoded.
        rows=(
            header(
                "X-Zendesk-Webhook-Signature",
                encoding="base64",
                signed="{timestamp}{body}",
                clock=Clock(InHeader("X-Zendesk-Webhook-Signature-Timestamp"), unit="rfc3339"),
                delivery=InHeader("X-Zendesk-Webhook-Invocation-Id"),
            ),
        ),
        type=Places(paths=("type",)),
        source="developer.zendesk.com, Verifying webhooks",
        shows_secret=True,
        steps=(
            "Open the Admin Center, Apps and integrations, Webhooks, and enter the URL {url}, POST, JSON.",
            "Reveal the signing secret, and give it to this source.",
        ),
        example_type="zen:event-type:ticket.created",
        example='{"type":"zen:event-type:ticket.created","id":"01H","subject":"zen:ticket:7","detail":{"id":"7"}}',
    ),
    Preset(
        name="typeform",
        title="Typeform",
        rows=(header("Typeform-Signature", prefix=b"sha256=", encoding="base64", delivery=InBody("event_id")),),
        type=Places(paths=("event_type",)),
        source="www.typeform.com/developers, Secure your webhooks",
        steps=("Open the form, Connect, Webhooks, Add a webhook.", "Enter the URL {url} and the secret {secret}."),
        example_type="form_response",
        example='{"event_id":"01E","event_type":"form_response","form_response":{"form_id":"lT4Z3j","answers":[]}}',
    ),
    Preset(
        name="calendly",
        title="Calendly",
        rows=(
            header(
                "Calendly-Webhook-Signature",
                separator=b",",
                prefix=b"v1=",
                signed="{timestamp}.{body}",
                clock=Clock(InSignature(b"t=")),
            ),
        ),
        type=Places(paths=("event",)),
        source="developer.calendly.com, Webhook signatures",
        steps=(
            (
                "Call POST https://api.calendly.com/webhook_subscriptions with url {url}, signing_key {secret}, "
                "the events, the organization and its scope."
            ),
        ),
        example_type="invitee.created",
        example='{"event":"invitee.created","payload":{"uri":"https://api.calendly.com/x/7","name":"Ada"}}',
    ),
    Preset(
        name="cal-com",
        title="Cal.com",
        rows=(header("X-Cal-Signature-256"),),
        type=Places(paths=("triggerEvent",)),
        source="cal.com/docs, Webhooks",
        steps=("Open Settings, Developer, Webhooks, New.", "Enter the URL {url} and the secret {secret}."),
        example_type="BOOKING_CREATED",
        example='{"triggerEvent":"BOOKING_CREATED","createdAt":"2026-01-05T10:00:00Z","payload":{"title":"Review"}}',
        handshakes=(ping(InBody("triggerEvent"), "PING"),),
    ),
    Preset(
        name="dropbox",
        title="Dropbox",
        rows=(header("X-Dropbox-Signature"),),
        type=Places(keys={"list_folder": "list_folder"}),
        source="www.dropbox.com/developers, Webhooks",
        shows_secret=True,
        steps=(
            "Open dropbox.com/developers/apps, the app, and give the app secret to this source.",
            "Under Webhooks enter the URL {url}; Dropbox checks it at once.",
        ),
        example_type="list_folder",
        example='{"list_folder":{"accounts":["dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc"]},"delta":{"users":[7]}}',
        handshakes=(
            Handshake(method="GET", when=(Says(InQuery("challenge")),), signed=False, echo=InQuery("challenge")),
        ),
    ),
    Preset(
        name="airtable",
        title="Airtable",
        rows=(header("X-Airtable-Content-MAC", prefix=b"hmac-sha256=", key=as_plain_base64),),
        type=Places(always="ping"),
        source="airtable.com/developers/web/api, Webhooks overview",
        shows_secret=True,
        steps=(
            "Call POST https://api.airtable.com/v0/bases/BASE/webhooks with notificationUrl {url}.",
            "Give macSecretBase64 of the answer to this source. A request says only that something changed.",
        ),
        example_type="ping",
        example='{"base":{"id":"app1"},"webhook":{"id":"ach1"},"timestamp":"2026-02-01T21:25:05.663Z"}',
    ),
    Preset(
        name="webflow",
        title="Webflow",
        rows=(
            header(
                "x-webflow-signature",
                signed="{timestamp}:{body}",
                clock=Clock(InHeader("x-webflow-timestamp"), unit="ms"),
            ),
        ),
        type=Places(paths=("triggerType",)),
        source="developers.webflow.com, Working with webhooks",
        shows_secret=True,
        steps=(
            "Open Site settings, Apps and integrations, Webhooks, Add webhook, and enter the URL {url}.",
            "Give the secret that it shows, or your app's client secret, to this source.",
        ),
        example_type="form_submission",
        example='{"triggerType":"form_submission","payload":{"name":"Contact","siteId":"65427cf4"}}',
    ),
)
