"""Where people talk. Pure."""

from msgspec.structs import replace

from clawback.senders.handshakes import ECHO, MAC, Handshake, Mac, Says, ping
from clawback.senders.preset import Places, Preset
from clawback.senders.signatures import (
    BASIC_AUTH,
    ED25519,
    OWN_HEADER,
    TOKEN,
    Clock,
    InBody,
    InHeader,
    InQuery,
    InSignature,
    Row,
    as_plain_base64,
    as_public_key,
    header,
)
from clawback.senders.urls import as_twilio

SLACK_CHALLENGE = Handshake(
    when=(Says(InBody("type"), "url_verification"),), echo=InBody("challenge"), json=(("challenge", ECHO),)
)

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
        handshakes=(SLACK_CHALLENGE,),
        answer=200,  # of a command, any other is a failure
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
        handshakes=(Handshake(when=(Says(InBody("type"), "0"),), status=204),),
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
        handshakes=(
            Handshake(
                when=(Says(InBody("event"), "endpoint.url_validation"),),
                echo=InBody("payload.plainToken"),
                mac=Mac(),
                json=(("plainToken", ECHO), ("encryptedToken", MAC)),
            ),
        ),
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
        handshakes=(
            Handshake(
                when=(Says(InHeader("Twitch-Eventsub-Message-Type"), "webhook_callback_verification"),),
                echo=InBody("challenge"),
            ),
        ),
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
        handshakes=(ping(InBody("topic"), "ping"),),
    ),
    Preset(
        name="telegram",
        title="Telegram bot",
        rows=(header("X-Telegram-Bot-Api-Secret-Token", algorithm=TOKEN, delivery=InBody("update_id")),),
        # `update_id` is in all of them.
        type=Places(
            keys={
                each: each
                for each in (
                    "message",
                    "edited_message",
                    "channel_post",
                    "edited_channel_post",
                    "callback_query",
                    "inline_query",
                    "chosen_inline_result",
                    "message_reaction",
                    "poll",
                    "poll_answer",
                    "my_chat_member",
                    "chat_member",
                    "chat_join_request",
                )
            }
        ),
        source="core.telegram.org/bots/api, setWebhook",
        steps=("Run: curl https://api.telegram.org/botTOKEN/setWebhook -d url={url} -d secret_token={secret}",),
        example_type="message",
        example='{"update_id":7,"message":{"text":"deploy","from":{"username":"ada"}}}',
        answer=200,
        empty=True,  # a body may be a call of its API
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
    *(
        Preset(
            name=f"slack-{kind}",
            title=f"Slack {kind}",
            rows=(
                header(
                    "X-Slack-Signature",
                    prefix=b"v0=",
                    signed="v0:{timestamp}:{body}",
                    clock=Clock(InHeader("X-Slack-Request-Timestamp")),
                    delivery=InBody(ident),
                ),
            ),
            type=places,
            source="docs.slack.dev, Verifying requests from Slack",
            shows_secret=True,
            steps=(
                "Open the app at api.slack.com/apps, Basic Information, and give the signing secret to this source.",
                f"Open {where}, and enter the request URL {{url}}.",
            ),
            example_type=example_type,
            example=example,
            answers_within_s=3.0,
            answer=200,  # which it takes without a word in the channel
            handshakes=(SLACK_CHALLENGE,) if kind == "events" else (),
            empty=kind != "events",  # a body would be the reply in the channel
        )
        for kind, ident, places, where, example_type, example in (
            (
                "events",
                "event_id",
                Places(paths=("event.type", "type"), action="event.subtype"),
                "Event Subscriptions",
                "app_mention",
                '{"type":"event_callback","event_id":"Ev1","event":{"type":"app_mention","text":"deploy","user":"U1"}}',
            ),
            (
                "interactivity",
                "trigger_id",
                Places(paths=("type",), action="actions.0.action_id"),
                "Interactivity and Shortcuts",
                "block_actions.approve",
                '{"type":"block_actions","trigger_id":"1.2","user":{"id":"U1"},"actions":[{"action_id":"approve"}]}',
            ),
            (
                "commands",
                "trigger_id",
                Places(paths=("command",)),
                "Slash Commands, Create New Command",
                "/deploy",
                '{"command":"/deploy","text":"shop","trigger_id":"1.2","user_id":"U1"}',
            ),
        )
    ),
    Preset(
        name="discord-interactions",
        title="Discord interactions",
        rows=(
            header(
                "X-Signature-Ed25519",
                algorithm=ED25519,
                signed="{timestamp}{body}",
                clock=Clock(InHeader("X-Signature-Timestamp")),
                delivery=InBody("id"),
                key=as_public_key,
            ),
        ),
        # 2 is a command, 3 a component, 4 an autocompletion, 5 a form.
        type=Places(paths=("type",), action="data.name"),
        source="discord.com/developers/docs, Interactions",
        shows_secret=True,
        steps=(
            "Open the app at discord.com/developers, General Information, and give the public key to this source.",
            "Enter the Interactions Endpoint URL {url} there; Discord checks it at once.",
        ),
        example_type="2.deploy",
        example='{"id":"845","type":2,"data":{"name":"deploy"},"member":{"user":{"username":"ada"}}}',
        answers_within_s=3.0,
        handshakes=(Handshake(when=(Says(InBody("type"), "1"),), json=(("type", 1),)),),
        empty=True,  # a body would be the reply to the user
    ),
    Preset(
        name="postmark",
        title="Postmark",
        rows=tuple(replace(row, delivery=InBody("MessageID")) for row in (BASIC_AUTH, OWN_HEADER)),
        type=Places(paths=("RecordType",), always="Inbound"),
        source="postmarkapp.com/developer, Webhooks overview",
        steps=(
            "Open the server, the message stream, Webhooks, Add webhook, and enter the URL {url}.",
            "Basic auth credentials: user and password are the secret's, {secret}.",
        ),
        example_type="Bounce",
        example='{"RecordType":"Bounce","MessageID":"883953f4","Email":"ada@example.com","Type":"HardBounce"}',
    ),
    Preset(
        name="ms-teams",
        title="Microsoft Teams outgoing webhook",
        rows=(header("Authorization", prefix=b"HMAC ", encoding="base64", delivery=InBody("id"), key=as_plain_base64),),
        type=Places(paths=("type",)),
        source="learn.microsoft.com, Create outgoing webhooks",
        shows_secret=True,
        steps=(
            "Open the team, Apps, Create an outgoing webhook, and enter the URL {url}.",
            "Copy the security token that Teams shows once, and give it to this source.",
        ),
        example_type="message",
        example='{"id":"1485983408511","type":"message","text":"<at>claw</at> deploy","from":{"name":"Ada"}}',
        answer=200,
        empty=True,  # a body would be the reply in the channel
    ),
    Preset(
        name="customer-io",
        title="Customer.io reporting webhooks",
        rows=(
            header(
                "X-CIO-Signature",
                signed="v0:{timestamp}:{body}",
                clock=Clock(InHeader("X-CIO-Timestamp")),
                delivery=InBody("event_id"),
            ),
        ),
        type=Places(paths=("metric",), action="object_type"),
        source="docs.customer.io, Reporting webhooks",
        shows_secret=True,
        steps=(
            "Open Data and Integrations, Integrations, Reporting Webhooks, and enter the URL {url}.",
            "Give the signing key that it shows to this source.",
        ),
        example_type="bounced.email",
        example='{"event_id":"01E4","metric":"bounced","object_type":"email","data":{"recipient":"ada@example.com"}}',
        answers_within_s=4.0,
    ),
    Preset(
        name="retell",
        title="Retell AI",
        # Another event of the same call has the same call_id, so that is no id.
        rows=(
            header(
                "x-retell-signature",
                separator=b",",
                prefix=b"d=",
                signed="{body}{timestamp}",
                clock=Clock(InSignature(b"v="), unit="ms"),
            ),
        ),
        type=Places(paths=("event",)),
        source="github.com/RetellAI/retell-typescript-sdk, webhook auth",
        shows_secret=True,
        steps=(
            "Open the dashboard, Webhooks, and enter the URL {url}.",
            "Give the API key that has the webhook badge to this source; Retell signs with it.",
        ),
        example_type="call_ended",
        example='{"event":"call_ended","call":{"call_id":"Jabr9TXYYJHfvl6Syypi88rdAHYHmcq6"}}',
    ),
    Preset(
        name="meta",
        title="Meta: WhatsApp, Messenger, Instagram, pages",
        rows=(header("X-Hub-Signature-256", prefix=b"sha256="),),
        type=Places(paths=("entry.0.changes.0.field", "object"), action="object"),
        source="developers.facebook.com, Webhooks from Meta",
        shows_secret=True,
        steps=(
            "Open the app at developers.facebook.com, App settings, Basic, and give the app secret to this source.",
            "Open Webhooks and enter the callback URL {url} and the verify token {verify}.",
        ),
        example_type="messages.whatsapp_business_account",
        example=(
            '{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages",'
            '"value":{"messages":[{"id":"wamid.1","text":{"body":"deploy"}}]}}]}]}'
        ),
        answer=200,
        items="entry",
        handshakes=(
            Handshake(
                method="GET",
                when=(Says(InQuery("hub.mode"), "subscribe"), Says(InQuery("hub.challenge"))),
                signed=False,
                token=InQuery("hub.verify_token"),
                echo=InQuery("hub.challenge"),
            ),
        ),
        dated=True,
    ),
    Preset(
        name="twitter",
        title="X (Twitter)",
        rows=(header("x-twitter-webhooks-signature", prefix=b"sha256=", encoding="base64"),),
        type=Places(
            keys={
                each: each
                for each in (
                    "tweet_create_events",
                    "tweet_delete_events",
                    "favorite_events",
                    "follow_events",
                    "block_events",
                    "mute_events",
                    "direct_message_events",
                    "direct_message_indicate_typing_events",
                    "direct_message_mark_read_events",
                    "user_event",
                )
            }
        ),
        source="docs.x.com, Webhooks",
        shows_secret=True,
        steps=(
            "Give the app's consumer secret to this source.",
            "Call POST https://api.x.com/2/webhooks with the url {url}; X checks it at once, and again each hour.",
        ),
        example_type="tweet_create_events",
        example='{"for_user_id":"7","tweet_create_events":[{"id_str":"1","text":"deploy"}]}',
        handshakes=(
            Handshake(
                method="GET",
                when=(Says(InQuery("crc_token")),),
                signed=False,
                echo=InQuery("crc_token"),
                mac=Mac(encoding="base64", prefix="sha256="),
                json=(("response_token", MAC),),
            ),
        ),
        dated=True,
    ),
    Preset(
        name="twilio",
        title="Twilio",
        # A form is signed by its fields; of another body the URL, which is signed, has the hash.
        rows=tuple(
            header(
                "X-Twilio-Signature",
                algorithm="sha1",
                encoding="base64",
                signed=signed,
                only=only,
                hash_in=hash_in,
                urls=as_twilio,
                delivery=InHeader("I-Twilio-Idempotency-Token"),
            )
            for signed, only, hash_in in (
                ("{url}", ((InQuery("bodySHA256"), ""),), InQuery("bodySHA256")),
                ("{url}{form_sorted}", (), None),
            )
        ),
        type=Places(paths=("CallStatus", "MessageStatus", "SmsStatus", "EventType")),
        source="github.com/twilio/twilio-node, webhooks",
        shows_secret=True,
        steps=(
            "Give the account's auth token to this source; Twilio signs with it.",
            "Run: twilio phone-numbers:update NUMBER --sms-url {url}",
        ),
        example_type="received",
        example="MessageSid=SM1&SmsStatus=received&From=%2B14155550100&To=%2B14155550101&Body=deploy+shop",
        answer=200,
        empty=True,  # as TwiML it would be the answer to a message or call
    ),
    Preset(
        name="mailgun",
        title="Mailgun",
        # A time and a random text are signed, and nothing of the event. The second row is what older webhooks send.
        rows=tuple(
            Row(
                place=InBody(f"{where}signature"),
                signed=f"{{timestamp}}{{json:{where}token}}",
                clock=Clock(InBody(f"{where}timestamp")),
                delivery=InBody(f"{where}token"),
            )
            for where in ("signature.", "")
        ),
        type=Places(paths=("event-data.event", "event")),
        source="documentation.mailgun.com, Securing webhooks",
        shows_secret=True,
        steps=(
            "Open Sending, Webhooks, and enter the URL {url}.",
            "Give the HTTP webhook signing key to this source.",
        ),
        example_type="failed",
        example=(
            '{"signature":{"timestamp":"0","token":"t1","signature":""},'
            '"event-data":{"event":"failed","id":"G9Bn","recipient":"ada@example.com"}}'
        ),
        answer=200,
    ),
)
