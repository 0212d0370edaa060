"""Who sells and takes payments. Pure."""

from msgspec.structs import replace

from clawback.senders.handshakes import Handshake, Says
from clawback.senders.preset import Places, Preset
from clawback.senders.published import Published, read_certificate
from clawback.senders.signatures import (
    BASIC_AUTH,
    IN_URL,
    RSA_SHA256,
    Clock,
    InBody,
    InHeader,
    InSignature,
    Row,
    as_hex,
    as_text,
    header,
    standard,
)

_SHOWN = "Copy the signing secret that it shows, and give it to this source."

ROWS = (
    Preset(
        name="stripe",
        title="Stripe",
        # The key is the whole secret, `whsec_` included.
        rows=(
            header(
                "Stripe-Signature",
                separator=b",",
                prefix=b"v1=",
                signed="{timestamp}.{body}",
                clock=Clock(InSignature(b"t=")),
                delivery=InBody("id"),
            ),
        ),
        type=Places(paths=("type",)),
        source="docs.stripe.com/webhooks/signature",
        shows_secret=True,
        steps=(
            "Open Developers, Webhooks, Add endpoint.",
            "Enter the URL {url} and choose the events; or run: stripe listen --forward-to {url}",
            _SHOWN,
        ),
        example_type="payment_intent.succeeded",
    ),
    Preset(
        name="shopify",
        title="Shopify",
        # The second is what its newer event subscriptions send.
        rows=tuple(
            header(f"{family}-Hmac-SHA256", encoding="base64", delivery=InHeader(f"{family}-Webhook-Id"))
            for family in ("X-Shopify", "Shopify")
        ),
        type=Places(header="X-Shopify-Topic"),
        source="shopify.dev, Verify webhook deliveries",
        shows_secret=True,
        steps=("Open Settings, Notifications, Webhooks.", "Enter the URL {url}, format JSON.", _SHOWN),
        example_type="orders/create",
    ),
    Preset(
        name="paddle",
        title="Paddle Billing",
        rows=(
            header(
                "Paddle-Signature",
                separator=b";",
                prefix=b"h1=",
                signed="{timestamp}:{body}",
                clock=Clock(InSignature(b"ts=")),
                delivery=InBody("event_id"),
            ),
        ),
        type=Places(paths=("event_type",)),
        source="developer.paddle.com, Signature verification",
        shows_secret=True,
        steps=("Open Developer tools, Notifications, New destination.", "Enter the URL {url}.", _SHOWN),
        example_type="transaction.completed",
        example='{"event_id":"evt_1","event_type":"transaction.completed","data":{"id":"txn_1"}}',
    ),
    Preset(
        name="square",
        title="Square",
        rows=(
            header(
                "x-square-hmacsha256-signature", encoding="base64", signed="{url}{body}", delivery=InBody("event_id")
            ),
        ),
        type=Places(paths=("type",)),
        source="developer.squareup.com, Validate and process webhooks",
        shows_secret=True,
        steps=("Open the Developer Console, Webhooks, Subscriptions.", "Enter the URL {url}.", _SHOWN),
        example_type="payment.updated",
        example='{"event_id":"6a8f","type":"payment.updated","merchant_id":"M1","data":{"type":"payment"}}',
    ),
    Preset(
        name="woocommerce",
        title="WooCommerce",
        rows=(header("X-WC-Webhook-Signature", encoding="base64", delivery=InHeader("X-WC-Webhook-Delivery-ID")),),
        type=Places(header="X-WC-Webhook-Topic"),
        source="github.com/woocommerce/woocommerce, class-wc-webhook.php",
        steps=(
            "Open WooCommerce, Settings, Advanced, Webhooks, Add webhook.",
            "Enter the delivery URL {url} and the secret {secret}, and choose a topic.",
        ),
        example_type="order.created",
        example='{"id":7,"status":"processing","total":"12.00"}',
        answer=200,
        # Sent when a webhook is saved: a form of its id alone, without a signature.
        handshakes=(Handshake(when=(Says(InBody("webhook_id")),), signed=False),),
    ),
    Preset(
        name="razorpay",
        title="Razorpay",
        rows=(header("X-Razorpay-Signature", delivery=InHeader("x-razorpay-event-id")),),
        type=Places(paths=("event",)),
        source="razorpay.com/docs, Validate and test webhooks",
        steps=("Open Account and Settings, Webhooks.", "Enter the URL {url} and the secret {secret}."),
        example_type="payment.failed",
        example='{"event":"payment.failed","payload":{"payment":{"entity":{"id":"pay_1"}}}}',
    ),
    Preset(
        name="lemonsqueezy",
        title="Lemon Squeezy",
        # No id: meta.webhook_id names the webhook.
        rows=(header("X-Signature"),),
        type=Places(header="X-Event-Name", paths=("meta.event_name",)),
        source="docs.lemonsqueezy.com, Signing requests",
        steps=(
            "Open Settings, Webhooks.",
            "Enter the URL {url} and the signing secret {secret}, and choose the events.",
        ),
        example_type="order_created",
        example='{"meta":{"event_name":"order_created"},"data":{"type":"orders","id":"1"}}',
        dated=True,
    ),
    Preset(
        name="polar",
        title="Polar",
        # The key is the whole secret, as text; its SDK encodes it only to have it decoded again.
        rows=(standard("Webhook", key=as_text),),
        type=Places(paths=("type",)),
        source="github.com/polarsource/polar, the SDKs' validateEvent",
        steps=(
            "Open the organization's Settings, Webhooks, Add endpoint.",
            "Enter the URL {url} and the secret {secret}.",
        ),
        example_type="order.paid",
        example='{"type":"order.paid","data":{"id":"7f","status":"paid"}}',
    ),
    Preset(
        name="adyen-platform",
        title="Adyen for platforms and management",
        rows=(header("HmacSignature", encoding="base64", key=as_hex),),
        type=Places(paths=("type",)),
        source="github.com/Adyen/adyen-python-api-library, util",
        shows_secret=True,
        steps=(
            "Open the Customer Area, Developers, Webhooks, and enter the URL {url}.",
            "Generate the HMAC key, and give it to this source.",
        ),
        example_type="merchant.created",
        example='{"type":"merchant.created","environment":"test","data":{"merchantId":"M1"}}',
        dated=True,
    ),
    Preset(
        name="chargebee",
        title="Chargebee",
        rows=tuple(replace(row, delivery=InBody("id")) for row in (BASIC_AUTH, IN_URL)),
        type=Places(paths=("event_type",)),
        source="www.chargebee.com/docs, Webhook settings",
        steps=(
            "Open Settings, Configure Chargebee, API Keys and Webhooks, Webhooks.",
            "Enter the URL {url}; protect it with basic authentication: user and password are the secret's, {secret}.",
        ),
        example_type="payment_failed",
        example='{"id":"ev_1","event_type":"payment_failed","content":{"customer":{"id":"c1"}}}',
    ),
    Preset(
        name="adyen",
        title="Adyen payments",
        # Eight fields of each item are signed. An item's pspReference is that of its payment too, and so no id.
        rows=(
            Row(
                place=InBody("additionalData.hmacSignature"),
                each="notificationItems",
                item="NotificationRequestItem",
                encoding="base64",
                signed=(
                    "{json:pspReference}:{json:originalReference}:{json:merchantAccountCode}:{json:merchantReference}:"
                    "{json:amount.value}:{json:amount.currency}:{json:eventCode}:{json:success}"
                ),
                key=as_hex,
            ),
        ),
        type=Places(paths=("notificationItems.0.NotificationRequestItem.eventCode",)),
        source="github.com/Adyen/adyen-python-api-library, util",
        shows_secret=True,
        steps=(
            "Open the Customer Area, Developers, Webhooks, Standard webhook, and enter the URL {url}, format JSON.",
            "Generate the HMAC key, and give it to this source.",
        ),
        example_type="AUTHORISATION",
        example=(
            '{"live":"false","notificationItems":[{"NotificationRequestItem":{"additionalData":{},'
            '"amount":{"currency":"EUR","value":1000},"eventCode":"AUTHORISATION","merchantAccountCode":"Acme",'
            '"merchantReference":"order-7","pspReference":"7914073381342284","success":"true"}}]}'
        ),
        items="notificationItems",
    ),
    Preset(
        name="paypal",
        title="PayPal",
        rows=(
            header(
                "PAYPAL-TRANSMISSION-SIG",
                algorithm=RSA_SHA256,
                encoding="base64",
                signed="{id}|{timestamp}|{secret}|{crc32}",
                clock=Clock(InHeader("PAYPAL-TRANSMISSION-TIME"), unit="rfc3339", tolerance_s=3 * 24 * 3600),
                published=Published(
                    header="PAYPAL-CERT-URL",
                    pattern=r"https://api(\.sandbox)?\.paypal\.com/v1/notifications/certs/[A-Za-z0-9_-]{1,128}",
                    read=read_certificate,
                ),
                delivery=InHeader("PAYPAL-TRANSMISSION-ID"),
            ),
        ),
        type=Places(paths=("event_type",)),
        source="developer.paypal.com, Integrate webhooks, self verification",
        shows_secret=True,
        steps=(
            "Open developer.paypal.com, Apps and Credentials, the app, Add webhook, and enter the URL {url}.",
            "Give the webhook id that it shows to this source. The simulator's events are refused.",
        ),
        example_type="PAYMENT.CAPTURE.COMPLETED",
        example='{"id":"WH-1","event_type":"PAYMENT.CAPTURE.COMPLETED","resource":{"id":"4N1","status":"COMPLETED"}}',
    ),
)
