"""Services that other programs are built on. Pure."""

from collections.abc import Callable

from msgspec.structs import replace

from clawback.senders.handshakes import ECHO, Handshake, Says
from clawback.senders.preset import Places, Preset
from clawback.senders.published import Published, ask_plaid, read_certificate, read_key_set, read_plaid
from clawback.senders.signatures import (
    ANY_TOKEN,
    BASIC_AUTH,
    ECDSA,
    JWT,
    OWN_HEADER,
    RSA_SHA1,
    RSA_SHA256,
    TOKEN,
    Clock,
    InBody,
    InHeader,
    InSignature,
    Row,
    as_account,
    as_base64,
    as_base64_or_text,
    as_basic,
    as_public_key,
    as_supabase,
    header,
)
from clawback.senders.signatures import standard as row
from clawback.senders.tokens import TokenRule

_SHOWN = "Copy the signing secret that it shows, and give it to this source."


_TYPE = Places(paths=("type",))


def _standard(
    name: str,
    title: str,
    where: str,
    example_type: str,
    *,
    families: tuple[str, ...] = ("Webhook",),
    key: Callable[[bytes], bytes] = as_base64,
    type: Places = _TYPE,  # noqa: A002 -- the field's name
    example: str = "",
    note: tuple[str, ...] = (),
) -> Preset:
    """Build the preset of a sender that goes by Standard Webhooks and shows its secret."""
    return Preset(
        name=name,
        title=title,
        rows=tuple(row(family, key) for family in families),
        type=type,
        source=f"{title}'s documentation of its webhooks; the standard's own vectors",
        shows_secret=True,
        key_secret=key is as_base64,
        steps=(f"Open {where}.", "Enter the URL {url} and choose the events.", _SHOWN, *note),
        example_type=example_type,
        example=example or f'{{"{(*type.paths, "type")[0]}":"{example_type}","data":{{}}}}',
    )


ROWS = (
    _standard("svix", "Svix", "the sender's page of endpoints", "invoice.paid", families=("Svix",)),
    _standard("clerk", "Clerk", "the dashboard, Configure, Webhooks, Add Endpoint", "user.created", families=("Svix",)),
    _standard("resend", "Resend", "resend.com/webhooks, Add webhook", "email.bounced", families=("Svix",)),
    _standard("render", "Render", "the workspace, Integrations, Webhooks", "deploy_ended"),
    _standard("openai", "OpenAI", "Settings, Project, Webhooks", "response.completed", key=as_base64_or_text),
    _standard(
        "replicate",
        "Replicate",
        "GET https://api.replicate.com/v1/webhooks/default/secret for the secret, and name the URL in each prediction",
        "succeeded",
        type=Places(paths=("status",)),
    ),
    _standard(
        "incident-io",
        "incident.io",
        "Settings, Webhooks",
        "public_incident.incident_created_v2",
        type=Places(paths=("event_type",)),
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
                delivery=InBody("id"),
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
        items="",
    ),
    _standard(
        "supabase-auth",
        "Supabase Auth hooks",
        "the project, Authentication, Hooks, and add one over HTTPS",
        "send_email",
        key=as_supabase,
        type=Places(
            keys={
                "email_data": "send_email",
                "sms": "send_sms",
                "claims": "custom_access_token",
                "factor_id": "mfa_verification_attempt",
                "valid": "password_verification_attempt",
            }
        ),
        note=("The answer of such a hook decides the login: this one is for hooks whose answer may say nothing.",),
        example='{"user":{"id":"8484b834","email":"ada@example.com"},"email_data":{"email_action_type":"signup"}}',
    ),
    _standard(
        "anthropic",
        "Anthropic",
        "the Claude Console, Manage, Webhooks",
        "session.status_idled",
        type=Places(paths=("data.type",)),
        example='{"type":"event","id":"evt_1","data":{"type":"session.status_idled","id":"session_1"}}',
    ),
    _standard(
        "recall-ai",
        "Recall.ai",
        "the dashboard, Webhooks",
        "bot.status_change",
        type=Places(paths=("event",)),
        families=("Webhook", "Svix"),
    ),
    Preset(
        name="aws-eventbridge",
        title="AWS EventBridge",
        rows=tuple(replace(row, delivery=InBody("id")) for row in (BASIC_AUTH, *ANY_TOKEN)),
        type=Places(paths=("detail-type",), action="source"),
        source="docs.aws.amazon.com, API destinations",
        steps=(
            (
                "Run: aws events create-connection --name clawback --authorization-type API_KEY --auth-parameters "
                "'ApiKeyAuthParameters={ApiKeyName=X-Webhook-Token,ApiKeyValue={secret}}'"
            ),
            "Run: aws events create-api-destination with the endpoint {url}; then put-rule and put-targets.",
        ),
        example_type="EC2 Instance State-change Notification.aws.ec2",
        example=(
            '{"id":"7bf7","detail-type":"EC2 Instance State-change Notification","source":"aws.ec2",'
            '"detail":{"state":"stopped"}}'
        ),
    ),
    Preset(
        name="auth0",
        title="Auth0 log stream",
        rows=(header("Authorization", prefix=b"Bearer ", optional_prefix=True, algorithm=TOKEN),),
        type=Places(paths=("0.data.type", "data.type")),
        source="auth0.com/docs, Custom log streams",
        steps=(
            "Open Monitoring, Streams, Create Stream, Custom Webhook.",
            "Enter the URL {url}, the authorization token {secret}, and the format JSON array.",
        ),
        example_type="fp",
        example='[{"log_id":"9002","data":{"type":"fp","description":"Wrong password","user_name":"ada"}}]',
        dated=True,
    ),
    Preset(
        name="okta",
        title="Okta event hooks",
        rows=(
            header(
                "Authorization", prefix=b"Bearer ", optional_prefix=True, algorithm=TOKEN, delivery=InBody("eventId")
            ),
            replace(OWN_HEADER, delivery=InBody("eventId")),
        ),
        type=Places(paths=("data.events.0.eventType",)),
        source="developer.okta.com, Event hooks",
        steps=(
            "Open Workflow, Event Hooks, Create Event Hook, and enter the URL {url}.",
            "Authentication field: Authorization, authentication secret: {secret}. Then press Verify.",
        ),
        example_type="user.account.lock",
        example='{"eventId":"b5a1","eventType":"com.okta.event_hook","data":{"events":[{"eventType":"user.account.lock"}]}}',
        handshakes=(
            Handshake(
                method="GET",
                when=(Says(InHeader("x-okta-verification-challenge")),),
                signed=False,
                echo=InHeader("x-okta-verification-challenge"),
                json=(("verification", ECHO),),
            ),
        ),
    ),
    Preset(
        name="supabase-db",
        title="Supabase database webhooks",
        rows=ANY_TOKEN,
        type=Places(paths=("type",), action="table"),
        source="supabase.com/docs, Database webhooks",
        steps=(
            "Open Database, Webhooks, Create a new hook, HTTP Request, and enter the URL {url}.",
            "Add the HTTP header X-Webhook-Token: {secret}.",
        ),
        example_type="INSERT.orders",
        example='{"type":"INSERT","table":"orders","schema":"public","record":{"id":7},"old_record":null}',
    ),
    Preset(
        name="cursor",
        title="Cursor cloud agents",
        rows=(header("X-Webhook-Signature", prefix=b"sha256=", delivery=InHeader("X-Webhook-ID")),),
        type=Places(header="X-Webhook-Event", paths=("event",), action="status"),
        source="cursor.com/docs, Webhooks of cloud agents",
        steps=('Name it when an agent is started: "webhook": {"url": "{url}", "secret": "{secret}"}',),
        example_type="statusChange.FINISHED",
        example='{"event":"statusChange","id":"bc_1","status":"FINISHED","source":{"repository":"acme/shop"}}',
    ),
    Preset(
        name="launchdarkly",
        title="LaunchDarkly",
        rows=(header("X-LD-Signature", delivery=InBody("_id")),),
        type=Places(paths=("kind",), action="titleVerb"),
        source="launchdarkly.com/docs, Webhooks",
        steps=("Open Integrations, Webhooks, Add integration.", "Enter the URL {url}, sign, and the secret {secret}."),
        example_type="flag.turned on the flag",
        example='{"_id":"50b6","kind":"flag","titleVerb":"turned on the flag","name":"New cart"}',
    ),
    Preset(
        name="aws-sns",
        title="AWS SNS",
        # AWS signs for everybody, so the source's secret says whose topic it must be. A try that comes again has its
        # first time, for up to an hour.
        rows=tuple(
            Row(
                place=InBody("Signature"),
                algorithm=algorithm,
                encoding="base64",
                signed="{lines:Message MessageId Subject SubscribeURL Timestamp Token TopicArn Type}",
                only=((InBody("SignatureVersion"), version),),
                clock=Clock(InBody("Timestamp"), unit="rfc3339", tolerance_s=3900),
                published=Published(
                    path="SigningCertURL",
                    pattern=(
                        r"https://sns\.[a-z0-9-]{1,32}\.amazonaws\.com(\.cn)?"
                        r"/SimpleNotificationService-[A-Za-z0-9]{1,64}\.pem"
                    ),
                    read=read_certificate,
                ),
                bound="{json:TopicArn}",
                delivery=InBody("MessageId"),
            )
            for version, algorithm in (("1", RSA_SHA1), ("2", RSA_SHA256))
        ),
        type=Places(paths=("Type",)),
        source="docs.aws.amazon.com/sns, Verifying message signatures",
        shows_secret=True,
        steps=(
            "Give the ARN of the topic to this source as its secret: AWS signs with a key of its own.",
            "Run: aws sns subscribe --topic-arn ARN --protocol https --notification-endpoint {url}",
            (
                "The server confirms it. Where the server has no way out, name SubscriptionConfirmation in a route and "
                "open the SubscribeURL of that event."
            ),
        ),
        handshakes=(
            Handshake(
                when=(Says(InBody("Type"), "SubscriptionConfirmation"),),
                visits=(
                    r"https://sns\.[a-z0-9-]{1,32}\.amazonaws\.com(\.cn)?"
                    r"/\?Action=ConfirmSubscription&[A-Za-z0-9_.:%=&-]{1,1000}"
                ),
                link="SubscribeURL",
            ),
        ),
        example_type="Notification",
        example=(
            '{"Type":"Notification","MessageId":"22b8","TopicArn":"arn:aws:sns:us-east-1:123456789012:shop",'
            '"Message":"Disk full","Timestamp":"2026-01-05T10:00:00.000Z","SignatureVersion":"2","Signature":"",'
            '"SigningCertURL":""}'
        ),
    ),
    Preset(
        name="google-pubsub",
        title="Google Pub/Sub push",
        rows=(
            header(
                "Authorization",
                prefix=b"Bearer ",
                algorithm=JWT,
                jwt=TokenRule(
                    algorithms=("RS256",),
                    issuers=("accounts.google.com", "https://accounts.google.com"),
                    expires=True,
                    account=True,
                ),
                published=Published(url="https://www.googleapis.com/oauth2/v3/certs", read=read_key_set),
                delivery=InBody("message.messageId"),
                key=as_account,
            ),
        ),
        type=Places(paths=("message.attributes.eventType",), always="message"),
        source="cloud.google.com/pubsub/docs, Authentication for push subscriptions",
        shows_secret=True,
        steps=(
            "Give the e-mail of a service account to this source as its secret; behind a blank the audience, if any.",
            (
                "Run: gcloud pubsub subscriptions create NAME --topic TOPIC --push-endpoint {url} "
                "--push-auth-service-account EMAIL"
            ),
        ),
        example_type="OBJECT_FINALIZE",
        example='{"message":{"messageId":"136","attributes":{"eventType":"OBJECT_FINALIZE"},"data":"e30="}}',
    ),
    Preset(
        name="plaid",
        title="Plaid",
        rows=(
            header(
                "Plaid-Verification",
                algorithm=JWT,
                jwt=TokenRule(algorithms=("ES256",), max_age_s=300, body_hash="request_body_sha256"),
                published=Published(
                    url="https://production.plaid.com/webhook_verification_key/get", read=read_plaid, asks=ask_plaid
                ),
                key=as_basic,
            ),
        ),
        type=Places(paths=("webhook_type",), action="webhook_code"),
        source="plaid.com/docs, Webhook verification",
        shows_secret=True,
        steps=(
            "Give CLIENT_ID:SECRET of production to this source: Plaid shows its keys to clients alone.",
            "Name {url} as webhook in /link/token/create, or by /item/webhook/update.",
        ),
        example_type="ITEM.ERROR",
        example='{"webhook_type":"ITEM","webhook_code":"ERROR","item_id":"wz66","error":{"error_code":"X"}}',
    ),
)
