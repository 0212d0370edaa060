"""Where people talk. Pure."""

from clawback.senders.preset import Places, Preset
from clawback.senders.signatures import ED25519, TOKEN, Clock, InBody, InHeader, InSignature, as_public_key, header

ROWS = (
    Preset(
        name="slack",
        title="Slack",
        rows=(
            header(
                "X-Slack-Signature",
                prefix=b"v0=",
                signed="v0:{timestamp}:{body}",
                clock=Clock(InHeader("X-Slack-Request-Timestamp")),
                delivery=InBody("event_id"),
            ),
        ),
        # An event's own type is inside an `event_callback`; interactions have theirs outside, slash commands a name.
        type=Places(paths=("event.type", "type", "command")),
        source="docs.slack.dev, Verifying requests from Slack",
        shows_secret=True,
        steps=(
            "Open the app at api.slack.com/apps, Basic Information, and give the signing secret to this source.",
            "Open Event Subscriptions and enter the request URL {url}; Slack checks it at once.",
            "Subscribe to bot events, and install the app.",
        ),
        example_type="app_mention",
        answers_within_s=3.0,
    ),
    Preset(
        name="discord-events",
        title="Discord webhook events",
        rows=(
            header(
                "X-Signature-Ed25519",
                algorithm=ED25519,
                signed="{timestamp}{body}",
                clock=Clock(InHeader("X-Signature-Timestamp")),
                key=as_public_key,
            ),
        ),
        type=Places(paths=("event.type",)),
        source="discord.com/developers/docs, Webhook Events",
        shows_secret=True,
        steps=(
            "Open the app at discord.com/developers, General Information, and give the public key to this source.",
            "Open Webhooks and enter the endpoint {url}; Discord checks it at once.",
        ),
        example_type="APPLICATION_AUTHORIZED",
        example='{"version":1,"type":1,"event":{"type":"APPLICATION_AUTHORIZED","data":{}}}',
        answers_within_s=3.0,
    ),
    Preset(
        name="zoom",
        title="Zoom",
        rows=(
            header(
                "x-zm-signature",
                prefix=b"v0=",
                signed="v0:{timestamp}:{body}",
                clock=Clock(InHeader("x-zm-request-timestamp")),
                delivery=InHeader("x-zm-trackingid"),
            ),
        ),
        type=Places(paths=("event",)),
        source="developers.zoom.us, Using webhooks",
        shows_secret=True,
        steps=(
            "Open the app at marketplace.zoom.us, Feature, and give the secret token to this source.",
            "Add an event subscription with the URL {url}.",
        ),
        example_type="meeting.ended",
        example='{"event":"meeting.ended","payload":{"object":{"id":"7"}}}',
        answers_within_s=3.0,
    ),
    Preset(
        name="twitch",
        title="Twitch EventSub",
        rows=(
            header(
                "Twitch-Eventsub-Message-Signature",
                prefix=b"sha256=",
                signed="{id}{timestamp}{body}",
                clock=Clock(InHeader("Twitch-Eventsub-Message-Timestamp"), unit="rfc3339", tolerance_s=600),
                delivery=InHeader("Twitch-Eventsub-Message-Id"),
            ),
        ),
        type=Places(paths=("subscription.type",)),
        source="dev.twitch.tv, Handling webhook events",
        steps=(
            "Call POST https://api.twitch.tv/helix/eventsub/subscriptions with callback {url} and secret {secret}.",
        ),
        example_type="stream.online",
        example='{"subscription":{"id":"1","type":"stream.online"},"event":{"broadcaster_user_id":"7"}}',
    ),
    Preset(
        name="intercom",
        title="Intercom",
        rows=(header("X-Hub-Signature", prefix=b"sha1=", algorithm="sha1", delivery=InBody("id")),),
        type=Places(paths=("topic",)),
        source="developers.intercom.com, Setting up webhooks",
        shows_secret=True,
        steps=(
            "Open the app in the Developer Hub, Webhooks, and enter the URL {url}.",
            "Give the app's client secret to this source.",
        ),
        example_type="conversation.user.created",
        example='{"id":"notif_1","topic":"conversation.user.created","data":{"item":{"id":"7"}}}',
    ),
    Preset(
        name="telegram",
        title="Telegram bot",
        rows=(header("X-Telegram-Bot-Api-Secret-Token", algorithm=TOKEN, delivery=InBody("update_id")),),
        source="core.telegram.org/bots/api, setWebhook",
        steps=("Run: curl https://api.telegram.org/botTOKEN/setWebhook -d url={url} -d secret_token={secret}",),
        example_type="",
        example='{"update_id":7,"message":{"text":"deploy","from":{"username":"ada"}}}',
        answer=200,
    ),
    Preset(
        name="elevenlabs",
        title="ElevenLabs",
        rows=(
            header(
                "ElevenLabs-Signature",
                separator=b",",
                prefix=b"v0=",
                signed="{timestamp}.{body}",
                clock=Clock(InSignature(b"t="), tolerance_s=1800),
            ),
        ),
        type=Places(paths=("type",)),
        source="elevenlabs.io/docs, Post-call webhooks",
        shows_secret=True,
        steps=("Open Settings, Webhooks, and enter the URL {url}.", "Give the secret that it shows to this source."),
        example_type="post_call_transcription",
        example='{"type":"post_call_transcription","data":{"conversation_id":"c1"}}',
    ),
)
