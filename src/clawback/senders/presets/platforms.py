"""Services that other programs are built on. Pure."""

from clawback.senders.preset import Places, Preset
from clawback.senders.signatures import ECDSA, Clock, InHeader, InSignature, as_base64_or_text, as_public_key, header
from clawback.senders.signatures import standard as row

_SHOWN = "Copy the signing secret that it shows, and give it to this source."


def _standard(
    name: str, title: str, where: str, example_type: str, *, family: str = "Webhook", **more: object
) -> Preset:
    """Build the preset of a sender that goes by Standard Webhooks and shows its secret."""
    kind = more.get("kind", "type")
    return Preset(
        name=name,
        title=title,
        rows=(row(family, as_base64_or_text if more.get("text_key") else row(family).key),),
        type=Places(paths=(str(kind),)),
        source=f"{title}'s documentation of its webhooks; the standard's own vectors",
        shows_secret=True,
        key_secret=not more.get("text_key"),
        steps=(f"Open {where}.", "Enter the URL {url} and choose the events.", _SHOWN),
        example_type=example_type,
        example=str(more.get("example") or f'{{"{kind}":"{example_type}","data":{{}}}}'),
    )


ROWS = (
    _standard("svix", "Svix", "the sender's page of endpoints", "invoice.paid", family="Svix"),
    _standard("clerk", "Clerk", "the dashboard, Configure, Webhooks, Add Endpoint", "user.created", family="Svix"),
    _standard("resend", "Resend", "resend.com/webhooks, Add webhook", "email.bounced", family="Svix"),
    _standard("render", "Render", "the workspace, Integrations, Webhooks", "deploy_ended"),
    _standard("openai", "OpenAI", "Settings, Project, Webhooks", "response.completed", text_key=True),
    _standard(
        "replicate",
        "Replicate",
        "GET https://api.replicate.com/v1/webhooks/default/secret for the secret, and name the URL in each prediction",
        "succeeded",
        kind="status",
    ),
    _standard(
        "incident-io", "incident.io", "Settings, Webhooks", "public_incident.incident_created_v2", kind="event_type"
    ),
    Preset(
        name="sanity",
        title="Sanity",
        rows=(
            header(
                "sanity-webhook-signature",
                separator=b",",
                prefix=b"v1=",
                encoding="base64url",
                signed="{timestamp}.{body}",
                clock=Clock(InSignature(b"t="), unit="ms"),
                delivery=InHeader("idempotency-key"),
            ),
        ),
        type=Places(header="sanity-operation"),
        source="github.com/sanity-io/webhook-toolkit",
        steps=("Open sanity.io/manage, API, Webhooks, Create webhook.", "Enter the URL {url} and the secret {secret}."),
        example_type="update",
        example='{"_id":"post-1","_type":"post"}',
    ),
    Preset(
        name="workos",
        title="WorkOS",
        rows=(
            header(
                "WorkOS-Signature",
                separator=b",",
                prefix=b"v1=",
                signed="{timestamp}.{body}",
                clock=Clock(InSignature(b"t="), unit="ms", tolerance_s=180),
            ),
        ),
        type=Places(paths=("event",)),
        source="workos.com/docs, Webhooks",
        shows_secret=True,
        steps=("Open the dashboard, Developers, Webhooks.", "Enter the URL {url} and choose the events.", _SHOWN),
        example_type="user.created",
        example='{"id":"event_1","event":"user.created","data":{"id":"user_1"}}',
    ),
    Preset(
        name="box",
        title="Box",
        rows=tuple(
            header(
                f"BOX-SIGNATURE-{which}",
                encoding="base64",
                signed="{body}{timestamp}",
                clock=Clock(InHeader("BOX-DELIVERY-TIMESTAMP"), unit="rfc3339", tolerance_s=600),
                delivery=InHeader("BOX-DELIVERY-ID"),
                falls_through=True,
            )
            for which in ("PRIMARY", "SECONDARY")
        ),
        type=Places(paths=("trigger",)),
        source="developer.box.com, Signatures",
        shows_secret=True,
        steps=(
            "Open the app in the Developer Console, Webhooks, and enter the URL {url}.",
            "Open Manage Signature Keys, generate the primary key, and give it to this source.",
        ),
        example_type="FILE.UPLOADED",
        example='{"id":"1","trigger":"FILE.UPLOADED","source":{"type":"file","name":"plan.pdf"}}',
    ),
    Preset(
        name="sendgrid",
        title="Twilio SendGrid",
        rows=(
            header(
                "X-Twilio-Email-Event-Webhook-Signature",
                algorithm=ECDSA,
                encoding="base64",
                signed="{timestamp}{body}",
                clock=Clock(InHeader("X-Twilio-Email-Event-Webhook-Timestamp")),
                key=as_public_key,
            ),
        ),
        type=Places(paths=("0.event",)),
        source="github.com/sendgrid/sendgrid-python, eventwebhook",
        shows_secret=True,
        steps=(
            "Open Settings, Mail Settings, Event Webhooks, and enter the URL {url}.",
            "Switch on Signature Verification, and give the verification key to this source.",
        ),
        example_type="bounce",
        example='[{"event":"bounce","email":"ada@example.com","sg_event_id":"1"}]',
    ),
)
