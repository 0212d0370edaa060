"""Where documents, forms, customers and calendars are kept. Pure."""

from clawback.senders.handshakes import Handshake, Says, ping
from clawback.senders.preset import Places, Preset
from clawback.senders.signatures import (
    DIGEST,
    TOKEN,
    Clock,
    InBody,
    InHeader,
    InNumbered,
    InQuery,
    InSignature,
    Row,
    as_plain_base64,
    header,
)
from clawback.senders.urls import as_hubspot

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
        dated=True,
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
        dated=True,
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
    Preset(
        name="hubspot",
        title="HubSpot",
        rows=(
            header(
                "X-HubSpot-Signature-v3",
                encoding="base64",
                signed="{method}{url}{body}{timestamp}",
                clock=Clock(InHeader("X-HubSpot-Request-Timestamp"), unit="ms"),
                urls=as_hubspot,
            ),
        ),
        type=Places(paths=("0.subscriptionType", "subscriptionType")),
        source="developers.hubspot.com, Validating requests",
        shows_secret=True,
        steps=(
            "Open the app, Webhooks, and enter the target URL {url}.",
            "Give the app's client secret to this source.",
        ),
        example_type="contact.creation",
        example='[{"eventId":1,"subscriptionType":"contact.creation","portalId":62515,"objectId":123}]',
        items="",
    ),
    Preset(
        name="hubspot-v1",
        title="HubSpot, by its older signatures",
        rows=tuple(
            header(
                "X-HubSpot-Signature",
                algorithm=DIGEST,
                signed=signed,
                only=((InHeader("X-HubSpot-Signature-Version"), version),),
            )
            for version, signed in (("v1", "{body}"), ("v2", "{method}{url}{body}"))
        ),
        type=Places(paths=("0.subscriptionType", "subscriptionType")),
        source="github.com/HubSpot/hubspot-api-nodejs, signature",
        shows_secret=True,
        steps=(
            "Open the app, Webhooks, and enter the target URL {url}. The type hubspot is the safer one: it has a time.",
            "Give the app's client secret to this source.",
        ),
        example_type="contact.creation",
        example='[{"eventId":1,"subscriptionType":"contact.creation","portalId":62515,"objectId":123}]',
        items="",
    ),
    Preset(
        name="contentful",
        title="Contentful",
        rows=(
            header(
                "x-contentful-signature",
                signed="{method}\n{encoded_path}\n{signed_headers}\n{body}",
                clock=Clock(InHeader("x-contentful-timestamp"), unit="ms", tolerance_s=30),
            ),
        ),
        type=Places(header="X-Contentful-Topic", paths=("sys.type",)),
        source="github.com/contentful/node-apps-toolkit, requests",
        shows_secret=True,
        steps=(
            "Open Settings, Webhooks, Add webhook, and enter the URL {url}.",
            "Under Webhooks, Settings, switch on request verification, and give its secret to this source.",
        ),
        example_type="ContentManagement.Entry.publish",
        example='{"sys":{"type":"Entry","id":"5KsD","revision":1},"fields":{"title":{"en-US":"Plan"}}}',
    ),
    Preset(
        name="figma",
        title="Figma",
        rows=(Row(place=InBody("passcode"), algorithm=TOKEN),),
        type=Places(paths=("event_type",)),
        source="developers.figma.com, Webhooks V2",
        steps=(
            (
                "Call POST https://api.figma.com/v2/webhooks with event_type, context, context_id, endpoint {url} and "
                "passcode {secret}; one for each kind of event."
            ),
        ),
        example_type="FILE_COMMENT",
        example='{"event_type":"FILE_COMMENT","passcode":"","file_key":"zH4l","comment":[{"text":"Fix the cart"}]}',
        redact=("passcode",),
        handshakes=(ping(InBody("event_type"), "PING"),),
        dated=True,
    ),
    Preset(
        name="docusign",
        title="DocuSign Connect",
        # Its envelopeId is that of all that happens to an envelope, and so no id.
        rows=(Row(place=InNumbered("X-DocuSign-Signature-"), encoding="base64"),),
        type=Places(paths=("event",)),
        source="developers.docusign.com, HMAC security with Connect",
        shows_secret=True,
        steps=(
            "Open Settings, Connect, Connect Keys, add a key, and give it to this source.",
            "Open Connect, Add Configuration, Custom; enter the URL {url}, JSON, and include the HMAC signature.",
        ),
        example_type="envelope-completed",
        example='{"event":"envelope-completed","data":{"accountId":"1","envelopeId":"93be49ab"}}',
        answers_within_s=10.0,
        dated=True,
    ),
    Preset(
        name="microsoft-graph",
        title="Microsoft Graph",
        rows=(Row(place=InBody("clientState"), each="value", algorithm=TOKEN),),
        type=Places(paths=("value.0.changeType",), action="value.0.resource"),
        source="learn.microsoft.com/graph, Change notifications by webhooks",
        steps=(
            (
                "Call POST https://graph.microsoft.com/v1.0/subscriptions with notificationUrl {url}, "
                "clientState {secret}, changeType, resource and expirationDateTime; Graph checks the URL at once."
            ),
        ),
        example_type="created.me/messages/7",
        example='{"value":[{"id":"lsgT","changeType":"created","resource":"me/messages/7","clientState":""}]}',
        items="value",
        handshakes=(
            Handshake(when=(Says(InQuery("validationToken")),), signed=False, echo=InQuery("validationToken")),
        ),
    ),
)
