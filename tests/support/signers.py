"""
A second hand that signs as each preset's sender does, written from the senders' own words and not from the table.

Each signer takes (secret, body, moment, id) and returns headers; `URL` is where the request goes.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from clawback.senders.preset import Preset
from clawback.senders.presets import PRESETS

URL = "https://hooks.example.com/webhooks/abc/hub"

Fields = dict[str, str]
Signer = Callable[[bytes, bytes, datetime, str], Fields]

ED25519_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ECDSA_KEY = ec.derive_private_key(7, ec.SECP256R1())


def digest(secret: bytes, text: bytes, algorithm: str = "sha256") -> bytes:
    """Compute an HMAC."""
    return hmac.new(secret, text, algorithm).digest()


def b64(data: bytes) -> str:
    """Write base64."""
    return base64.b64encode(data).decode()


def seconds(moment: datetime) -> str:
    """Write a time in Unix seconds."""
    return str(int(moment.timestamp()))


def millis(moment: datetime) -> str:
    """Write a time in Unix milliseconds."""
    return str(int(moment.timestamp() * 1000))


def rfc3339(moment: datetime) -> str:
    """Write a time with nanoseconds, as Go does."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")


def plain(name: str, prefix: str = "", algorithm: str = "sha256", id_header: str | None = None) -> Signer:
    """Sign the body alone, in hex."""

    def sign(secret: bytes, body: bytes, _moment: datetime, ident: str) -> Fields:
        fields = {name: prefix + digest(secret, body, algorithm).hex()}
        return fields | ({id_header: ident} if id_header else {})

    return sign


def base64_plain(name: str, id_header: str | None = None) -> Signer:
    """Sign the body alone, in base64."""

    def sign(secret: bytes, body: bytes, _moment: datetime, ident: str) -> Fields:
        return {name: b64(digest(secret, body))} | ({id_header: ident} if id_header else {})

    return sign


def listed(name: str, form: str, between: bytes, write: Callable[[datetime], str] = seconds) -> Signer:
    """Sign a time and the body, with both in one header."""

    def sign(secret: bytes, body: bytes, moment: datetime, _ident: str) -> Fields:
        time = write(moment)
        return {name: form.format(t=time, s=digest(secret, time.encode() + between + body).hex())}

    return sign


def standard(family: str = "webhook") -> Signer:
    """Sign as Standard Webhooks has it."""

    def sign(secret: bytes, body: bytes, moment: datetime, ident: str) -> Fields:
        key = base64.b64decode(secret.removeprefix(b"whsec_"))
        text = f"{ident}.{seconds(moment)}.".encode() + body
        return {
            f"{family}-id": ident,
            f"{family}-timestamp": seconds(moment),
            f"{family}-signature": f"v1,{b64(digest(key, text))}",
        }

    return sign


def token(name: str, prefix: str = "") -> Signer:
    """Show the secret."""
    return lambda secret, _body, _moment, _ident: {name: prefix + secret.decode()}


def basic(secret: bytes, _body: bytes, _moment: datetime, _ident: str) -> Fields:
    """Show user and password."""
    return {"Authorization": f"Basic {b64(secret)}"}


def sanity(secret: bytes, body: bytes, moment: datetime, ident: str) -> Fields:
    """Sign as Sanity does."""
    time = millis(moment)
    written = base64.urlsafe_b64encode(digest(secret, f"{time}.".encode() + body)).decode().rstrip("=")
    return {"sanity-webhook-signature": f"t={time},v1={written}", "idempotency-key": ident}


def box(secret: bytes, body: bytes, moment: datetime, ident: str) -> Fields:
    """Sign as Box does, with another key beside."""
    time = moment.astimezone(UTC).isoformat()
    return {
        "BOX-SIGNATURE-PRIMARY": b64(digest(b"another", body + time.encode())),
        "BOX-SIGNATURE-SECONDARY": b64(digest(secret, body + time.encode())),
        "BOX-DELIVERY-TIMESTAMP": time,
        "BOX-DELIVERY-ID": ident,
    }


def sendgrid(_secret: bytes, body: bytes, moment: datetime, _ident: str) -> Fields:
    """Sign as SendGrid does, with the private half of `ECDSA_KEY`."""
    signature = ECDSA_KEY.sign(seconds(moment).encode() + body, ec.ECDSA(hashes.SHA256()))
    family = "X-Twilio-Email-Event-Webhook"
    return {f"{family}-Signature": b64(signature), f"{family}-Timestamp": seconds(moment)}


def discord(_secret: bytes, body: bytes, moment: datetime, _ident: str) -> Fields:
    """Sign as Discord does, with the private half of `ED25519_KEY`."""
    signature = ED25519_KEY.sign(seconds(moment).encode() + body)
    return {"X-Signature-Ed25519": signature.hex(), "X-Signature-Timestamp": seconds(moment)}


def timed(name: str, time_header: str, prefix: str) -> Signer:
    """Sign `v0:time:body`, with the time in a header of its own."""

    def sign(secret: bytes, body: bytes, moment: datetime, _ident: str) -> Fields:
        time = seconds(moment)
        return {name: prefix + digest(secret, f"v0:{time}:".encode() + body).hex(), time_header: time}

    return sign


def twitch(secret: bytes, body: bytes, moment: datetime, ident: str) -> Fields:
    """Sign as Twitch does."""
    time, family = rfc3339(moment), "Twitch-Eventsub-Message"
    signed = digest(secret, ident.encode() + time.encode() + body).hex()
    return {f"{family}-Id": ident, f"{family}-Timestamp": time, f"{family}-Signature": f"sha256={signed}"}


def square(secret: bytes, body: bytes, _moment: datetime, _ident: str) -> Fields:
    """Sign as Square does."""
    return {"x-square-hmacsha256-signature": b64(digest(secret, URL.encode() + body))}


def linear(secret: bytes, body: bytes, _moment: datetime, ident: str) -> Fields:
    """Sign as Linear does; the time is in the body."""
    return {"Linear-Signature": digest(secret, body).hex(), "Linear-Delivery": ident}


def polar(secret: bytes, body: bytes, moment: datetime, ident: str) -> Fields:
    """Sign as Polar does: its SDK encodes the secret's text to base64, which the standard's library decodes."""
    return standard()(b"whsec_" + base64.b64encode(secret), body, moment, ident)


def supabase(secret: bytes, body: bytes, moment: datetime, ident: str) -> Fields:
    """Sign as Supabase Auth does."""
    return standard()(secret.removeprefix(b"v1,"), body, moment, ident)


def trello(secret: bytes, body: bytes, _moment: datetime, _ident: str) -> Fields:
    """Sign as Trello does."""
    return {"X-Trello-Webhook": b64(digest(secret, body + URL.encode(), "sha1"))}


def adyen_platform(secret: bytes, body: bytes, _moment: datetime, _ident: str) -> Fields:
    """Sign as Adyen's platforms do."""
    return {"HmacSignature": b64(digest(bytes.fromhex(secret.decode()), body))}


def ms_teams(secret: bytes, body: bytes, _moment: datetime, _ident: str) -> Fields:
    """Sign as Teams does."""
    return {"Authorization": f"HMAC {b64(digest(base64.b64decode(secret), body))}"}


def airtable(secret: bytes, body: bytes, _moment: datetime, _ident: str) -> Fields:
    """Sign as Airtable does: a key in base64, a digest in hex."""
    return {"X-Airtable-Content-MAC": f"hmac-sha256={digest(base64.b64decode(secret), body).hex()}"}


def customer_io(secret: bytes, body: bytes, moment: datetime, _ident: str) -> Fields:
    """Sign as Customer.io does."""
    time = seconds(moment)
    return {"X-CIO-Signature": digest(secret, f"v0:{time}:".encode() + body).hex(), "X-CIO-Timestamp": time}


def retell(secret: bytes, body: bytes, moment: datetime, _ident: str) -> Fields:
    """Sign as Retell does: the time comes behind the body."""
    time = millis(moment)
    return {"x-retell-signature": f"v={time},d={digest(secret, body + time.encode()).hex()}"}


def zendesk(secret: bytes, body: bytes, moment: datetime, ident: str) -> Fields:
    """Sign as Zendesk does."""
    time, family = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "X-Zendesk-Webhook"
    return {
        f"{family}-Signature": b64(digest(secret, time.encode() + body)),
        f"{family}-Signature-Timestamp": time,
        f"{family}-Invocation-Id": ident,
    }


def webflow(secret: bytes, body: bytes, moment: datetime, _ident: str) -> Fields:
    """Sign as Webflow does."""
    time = millis(moment)
    return {"x-webflow-signature": digest(secret, f"{time}:".encode() + body).hex(), "x-webflow-timestamp": time}


def prefixed(name: str) -> Signer:
    """Sign the body alone, in base64 behind `sha256=`."""
    return lambda secret, body, _moment, _ident: {name: f"sha256={b64(digest(secret, body))}"}


def jwt(secret: bytes, claims: dict[str, object]) -> str:
    """Write a JSON Web Token, signed by HS256, out of its RFC."""

    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    text = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (text + b"." + part(digest(secret, text))).decode()


def times(moment: datetime) -> dict[str, object]:
    """Write when a token was made and when it ends."""
    return {"iat": int(moment.timestamp()), "exp": int(moment.timestamp()) + 180}


def netlify(secret: bytes, body: bytes, _moment: datetime, _ident: str) -> Fields:
    """Sign as Netlify does."""
    return {"X-Webhook-Signature": jwt(secret, {"iss": "netlify", "sha256": hashlib.sha256(body).hexdigest()})}


def atlassian(secret: bytes, _body: bytes, moment: datetime, _ident: str) -> Fields:
    """Sign as an Atlassian product does, with the hash of method, path and an empty query."""
    path = "/" + URL.split("/", 3)[3]
    claims = {"iss": "jira", "qsh": hashlib.sha256(f"POST&{path}&".encode()).hexdigest(), **times(moment)}
    return {"Authorization": f"JWT {jwt(secret, claims)}"}


def monday(secret: bytes, _body: bytes, moment: datetime, _ident: str) -> Fields:
    """Sign as monday does."""
    return {"Authorization": jwt(secret, {"aud": URL, "accountId": 1, "userId": 2, **times(moment)})}


def adyen(secret: bytes, body: bytes, _moment: datetime) -> bytes:
    """Sign each item as Adyen does."""
    whole = json.loads(body)
    for entry in whole["notificationItems"]:
        item = entry["NotificationRequestItem"]
        amount = item["amount"]
        fields = [item["pspReference"], item.get("originalReference", ""), item["merchantAccountCode"]]
        fields += [item["merchantReference"], str(amount["value"]), amount["currency"]]
        fields += [item["eventCode"], item["success"]]
        signature = b64(digest(bytes.fromhex(secret.decode()), ":".join(fields).encode()))
        item["additionalData"]["hmacSignature"] = signature
    return json.dumps(whole).encode()


def mailgun(secret: bytes, body: bytes, moment: datetime) -> bytes:
    """Sign as Mailgun does: a time and a random text."""
    whole, time = json.loads(body), seconds(moment)
    told = {"timestamp": time, "token": "a8ce0e", "signature": digest(secret, f"{time}a8ce0e".encode()).hex()}
    return json.dumps(whole | {"signature": told}).encode()


def figma(secret: bytes, body: bytes, _moment: datetime) -> bytes:
    """Show the passcode."""
    return json.dumps(json.loads(body) | {"passcode": secret.decode()}).encode()


def graph(secret: bytes, body: bytes, _moment: datetime) -> bytes:
    """Show the client state in each notification."""
    whole = json.loads(body)
    for each in whole["value"]:
        each["clientState"] = secret.decode()
    return json.dumps(whole).encode()


def twilio(secret: bytes, body: bytes, _moment: datetime, ident: str) -> Fields:
    """Sign as Twilio does: the URL, and the form by its names."""
    text = URL + "".join(name + value for name, value in sorted(parse_qsl(body.decode(), keep_blank_values=True)))
    return {"X-Twilio-Signature": b64(digest(secret, text.encode(), "sha1")), "I-Twilio-Idempotency-Token": ident}


def hubspot(secret: bytes, body: bytes, moment: datetime, _ident: str) -> Fields:
    """Sign as HubSpot does today."""
    time = millis(moment)
    signed = digest(secret, b"POST" + URL.encode() + body + time.encode())
    return {"X-HubSpot-Signature-v3": b64(signed), "X-HubSpot-Request-Timestamp": time}


def hubspot_v1(secret: bytes, body: bytes, _moment: datetime, _ident: str) -> Fields:
    """Sign as HubSpot did."""
    return {
        "X-HubSpot-Signature": hashlib.sha256(secret + body).hexdigest(),
        "X-HubSpot-Signature-Version": "v1",
    }


def contentful(secret: bytes, body: bytes, moment: datetime, _ident: str) -> Fields:
    """Sign as Contentful does, with a header of ours among those that it signs."""
    listed = "x-contentful-signed-headers,x-contentful-timestamp,x-contentful-topic"
    fields = {
        "x-contentful-signed-headers": listed,
        "x-contentful-timestamp": millis(moment),
        "x-contentful-topic": "ContentManagement.Entry.publish",
    }
    headers = ";".join(f"{name}:{value}" for name, value in fields.items())
    path = "/" + URL.split("/", 3)[3]
    return fields | {"x-contentful-signature": digest(secret, f"POST\n{path}\n{headers}\n".encode() + body).hex()}


def docusign(secret: bytes, body: bytes, _moment: datetime, _ident: str) -> Fields:
    """Sign as DocuSign does, where a second key is there beside a first."""
    return {
        "X-DocuSign-Signature-1": b64(digest(b"another", body)),
        "X-DocuSign-Signature-2": b64(digest(secret, body)),
    }


def _certificate(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sender.example")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 7, datetime(2020, 1, 1), datetime(2040, 1, 1))  # noqa: DTZ001 -- X.509 has UTC
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def rsa_signature(text: bytes, algorithm: hashes.HashAlgorithm | None = None) -> bytes:
    """Sign with the private half of `RSA_KEY`."""
    return RSA_KEY.sign(text, padding.PKCS1v15(), algorithm or hashes.SHA256())


def travis(_secret: bytes, body: bytes, _moment: datetime, _ident: str) -> Fields:
    """Sign as Travis CI does: the form's field, decoded."""
    payload = dict(parse_qsl(body.decode()))["payload"]
    return {"Signature": b64(rsa_signature(payload.encode(), hashes.SHA1()))}  # noqa: S303 -- it has no other


def paypal(secret: bytes, body: bytes, moment: datetime, ident: str) -> Fields:
    """Sign as PayPal does."""
    time = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"{ident}|{time}|{secret.decode()}|{binascii.crc32(body)}"
    return {
        "PAYPAL-TRANSMISSION-ID": ident,
        "PAYPAL-TRANSMISSION-TIME": time,
        "PAYPAL-TRANSMISSION-SIG": b64(rsa_signature(text.encode())),
        "PAYPAL-CERT-URL": PAYPAL_CERTIFICATE,
    }


def sns(secret: bytes, body: bytes, moment: datetime) -> bytes:
    """Sign as SNS does: line by line, in the order of the alphabet."""
    time = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    whole = json.loads(body) | {"Timestamp": time, "TopicArn": secret.decode(), "SigningCertURL": SNS_CERTIFICATE}
    every = ("Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
    names = [each for each in every if each in whole]
    text = "".join(f"{each}\n{whole[each]}\n" for each in names)
    return json.dumps(whole | {"Signature": b64(rsa_signature(text.encode()))}).encode()


def _token(header: dict[str, object], claims: dict[str, object], write: Callable[[bytes], bytes]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in (header, claims)]
    text = b".".join(parts)
    return (text + b"." + base64.urlsafe_b64encode(write(text)).rstrip(b"=")).decode()


def google(secret: bytes, _body: bytes, moment: datetime, _ident: str, **claims: object) -> Fields:
    """Sign as Google does for a service account."""
    told = {"iss": "https://accounts.google.com", "aud": URL, "email": secret.decode(), "email_verified": True}
    return {
        "Authorization": "Bearer " + _token({"alg": "RS256", "kid": "g1"}, told | times(moment) | claims, rsa_signature)
    }


def plaid(_secret: bytes, body: bytes, moment: datetime, _ident: str) -> Fields:
    """Sign as Plaid does."""

    def write(text: bytes) -> bytes:
        first, second = decode_dss_signature(ECDSA_KEY.sign(text, ec.ECDSA(hashes.SHA256())))
        return first.to_bytes(32, "big") + second.to_bytes(32, "big")

    claims = {"iat": int(moment.timestamp()), "request_body_sha256": hashlib.sha256(body).hexdigest()}
    return {"Plaid-Verification": _token({"alg": "ES256", "kid": "p1"}, claims, write)}


def _number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


RSA_KEY = rsa.generate_private_key(65537, 2048)
SNS_CERTIFICATE = (
    "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-7ff5318490ec183fbaddaa2a969abfda.pem"
)
PAYPAL_CERTIFICATE = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77"

_EC = ECDSA_KEY.public_key().public_numbers()
_RSA = RSA_KEY.public_key()
_TRAVIS = {"public_key": _RSA.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()}

PUBLISHED: dict[str, bytes] = {
    "https://api.travis-ci.com/config": json.dumps({"config": {"notifications": {"webhook": _TRAVIS}}}).encode(),
    PAYPAL_CERTIFICATE: _certificate(RSA_KEY),
    SNS_CERTIFICATE: _certificate(RSA_KEY),
    "https://www.googleapis.com/oauth2/v3/certs": json.dumps(
        {
            "keys": [
                {"kty": "RSA", "kid": "other", "n": _number(7**900), "e": "AQAB"},
                {
                    "kty": "RSA",
                    "kid": "g1",
                    "alg": "RS256",
                    "n": _number(_RSA.public_numbers().n),
                    "e": _number(_RSA.public_numbers().e),
                },
            ]
        }
    ).encode(),
    "https://production.plaid.com/webhook_verification_key/get": json.dumps(
        {"key": {"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "p1", "x": _number(_EC.x), "y": _number(_EC.y)}}
    ).encode(),
}
"""What is fetched, by its URL: the public halves of our keys, as each sender publishes them."""


def unseen(_secret: bytes, _body: bytes, _moment: datetime, _ident: str) -> Fields:
    """Sign in the body alone: see `SEALERS`."""
    return {}


SEALERS: dict[str, Callable[[bytes, bytes, datetime], bytes]] = {
    "adyen": adyen,
    "mailgun": mailgun,
    "figma": figma,
    "microsoft-graph": graph,
    "aws-sns": sns,
}
"""Of the senders whose signature is in the body: they put it there."""

TAMPERED: dict[str, Callable[[bytes], bytes]] = {
    "adyen": lambda body: body.replace(b"AUTHORISATION", b"CAPTURE"),
    "mailgun": lambda body: body.replace(b"a8ce0e", b"a8ce0f"),
    "aws-sns": lambda body: body.replace(b"Disk full", b"Disk fine"),
}
"""Of the senders who sign some of the body: what they sign, changed. Of all others one character more is a change."""

SIGNERS: dict[str, Signer] = {
    "github": plain("X-Hub-Signature-256", "sha256=", id_header="X-GitHub-Delivery"),
    "gitlab": token("X-Gitlab-Token"),
    "bitbucket": plain("X-Hub-Signature", "sha256=", id_header="X-Request-UUID"),
    "gitea": plain("X-Gitea-Signature", id_header="X-Gitea-Delivery"),
    "forgejo": plain("X-Forgejo-Signature", id_header="X-Forgejo-Delivery"),
    "gogs": plain("X-Gogs-Signature", id_header="X-Gogs-Delivery"),
    "circleci": plain("circleci-signature", "v1="),
    "buildkite": listed("X-Buildkite-Signature", "timestamp={t},signature={s}", b"."),
    "vercel": plain("x-vercel-signature", algorithm="sha1"),
    "heroku": base64_plain("Heroku-Webhook-Hmac-SHA256"),
    "linear": linear,
    "jira": plain("X-Hub-Signature", "sha256=", id_header="X-Atlassian-Webhook-Identifier"),
    "clickup": plain("X-Signature"),
    "sentry": plain("Sentry-Hook-Signature", id_header="Request-ID"),
    "pagerduty": plain("X-PagerDuty-Signature", "v1="),
    "grafana": plain("X-Grafana-Alerting-Signature"),
    "alertmanager": token("Authorization", "Bearer "),
    "honeycomb": token("X-Honeycomb-Webhook-Token"),
    "svix": standard("svix"),
    "clerk": standard("svix"),
    "resend": standard("svix"),
    "render": standard(),
    "openai": standard(),
    "replicate": standard(),
    "incident-io": standard(),
    "sanity": sanity,
    "workos": listed("WorkOS-Signature", "t={t}, v1={s}", b".", millis),
    "box": box,
    "sendgrid": sendgrid,
    "stripe": listed("Stripe-Signature", "t={t},v1={s}", b"."),
    "shopify": base64_plain("X-Shopify-Hmac-SHA256", "X-Shopify-Webhook-Id"),
    "paddle": listed("Paddle-Signature", "ts={t};h1={s}", b":"),
    "square": square,
    "woocommerce": base64_plain("X-WC-Webhook-Signature", "X-WC-Webhook-Delivery-ID"),
    "razorpay": plain("X-Razorpay-Signature", id_header="x-razorpay-event-id"),
    "slack": timed("X-Slack-Signature", "X-Slack-Request-Timestamp", "v0="),
    "discord-events": discord,
    "zoom": timed("x-zm-signature", "x-zm-request-timestamp", "v0="),
    "twitch": twitch,
    "intercom": plain("X-Hub-Signature", "sha1=", "sha1"),
    "telegram": token("X-Telegram-Bot-Api-Secret-Token"),
    "elevenlabs": listed("ElevenLabs-Signature", "t={t},v0={s}", b"."),
    "gitlab-signing": standard(),
    "bitbucket-server": plain("X-Hub-Signature", "sha256=", id_header="X-Request-Id"),
    "azure-devops": basic,
    "jenkins": token("X-Webhook-Token"),
    "semaphore": plain("X-Semaphore-Signature-256", "sha256="),
    "npm": plain("x-npm-signature", "sha256="),
    "dockerhub": token("X-Webhook-Token"),
    "railway": token("X-Webhook-Token"),
    "confluence-dc": plain("X-Hub-Signature", "sha256="),
    "shortcut": plain("Payload-Signature"),
    "asana": plain("X-Hook-Signature"),
    "trello": trello,
    "notion": plain("X-Notion-Signature", "sha256="),
    "opsgenie": token("X-Webhook-Token"),
    "datadog": token("X-Webhook-Token"),
    "newrelic": token("Authorization", "Bearer "),
    "rollbar": token("X-Webhook-Token"),
    "bugsnag": token("X-Webhook-Token"),
    "uptime-kuma": token("Authorization", "Bearer "),
    "statuspage": token("X-Webhook-Token"),
    "betterstack": token("X-Webhook-Token"),
    "cloudflare": token("cf-webhook-auth"),
    "supabase-auth": supabase,
    "anthropic": standard(),
    "recall-ai": standard(),
    "aws-eventbridge": token("X-Webhook-Token"),
    "auth0": token("Authorization"),
    "okta": token("Authorization"),
    "supabase-db": token("X-Webhook-Token"),
    "cursor": plain("X-Webhook-Signature", "sha256=", id_header="X-Webhook-ID"),
    "launchdarkly": plain("X-LD-Signature"),
    "lemonsqueezy": plain("X-Signature"),
    "polar": polar,
    "adyen-platform": adyen_platform,
    "chargebee": basic,
    "slack-events": timed("X-Slack-Signature", "X-Slack-Request-Timestamp", "v0="),
    "slack-interactivity": timed("X-Slack-Signature", "X-Slack-Request-Timestamp", "v0="),
    "slack-commands": timed("X-Slack-Signature", "X-Slack-Request-Timestamp", "v0="),
    "discord-interactions": discord,
    "postmark": basic,
    "ms-teams": ms_teams,
    "customer-io": customer_io,
    "retell": retell,
    "meta": plain("X-Hub-Signature-256", "sha256="),
    "twitter": prefixed("x-twitter-webhooks-signature"),
    "zendesk": zendesk,
    "calendly": listed("Calendly-Webhook-Signature", "t={t},v1={s}", b"."),
    "cal-com": plain("X-Cal-Signature-256"),
    "dropbox": plain("X-Dropbox-Signature"),
    "airtable": airtable,
    "webflow": webflow,
    "netlify": netlify,
    "atlassian-connect": atlassian,
    "monday": monday,
    **dict.fromkeys(SEALERS, unseen),
    "twilio": twilio,
    "hubspot": hubspot,
    "hubspot-v1": hubspot_v1,
    "contentful": contentful,
    "docusign": docusign,
    "travis": travis,
    "paypal": paypal,
    "google-pubsub": google,
    "plaid": plaid,
    "standard-webhooks": standard(),
    "hmac": plain("X-Signature", "sha256="),
    "generic": plain("X-Signature", "sha256="),
    "token": token("X-Webhook-Token"),
    "basic": basic,
}
"""By the name of the preset."""

_STANDARD = b"whsec_" + base64.b64encode(b"planted-secret-of-thirty-bytes")

_STANDARD_NAMES = (
    "standard-webhooks",
    "svix",
    "clerk",
    "resend",
    "render",
    "openai",
    "replicate",
    "incident-io",
    "gitlab-signing",
    "anthropic",
    "recall-ai",
)
_PUBLIC_KEY = ED25519_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex().encode()
_BASIC_NAMES = ("basic", "azure-devops", "chargebee", "postmark")

SECRETS: dict[str, bytes] = {
    **dict.fromkeys(_STANDARD_NAMES, _STANDARD),
    **dict.fromkeys(_BASIC_NAMES, b"ada:planted-password"),
    **dict.fromkeys(("discord-events", "discord-interactions"), _PUBLIC_KEY),
    "travis": b"acme/shop",
    "paypal": b"1JE4291016473214C",
    "aws-sns": b"arn:aws:sns:us-east-1:123456789012:shop",
    "google-pubsub": b"push@acme.iam.gserviceaccount.com",
    "plaid": b"client:planted-password",
    "supabase-auth": b"v1," + _STANDARD,
    **dict.fromkeys(("adyen", "adyen-platform"), b"44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"),
    **dict.fromkeys(("ms-teams", "airtable"), b"cGxhbnRlZC1zZWNyZXQtb2YtdGhpcnR5LWJ5dGVz"),
    "sendgrid": b64(ECDSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).encode(),
}
"""What a source of these presets is given; of all others any text."""

_PKCS8 = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

PRIVATE_KEYS: dict[str, bytes] = {
    **dict.fromkeys(("discord-events", "discord-interactions"), ED25519_KEY.private_bytes(*_PKCS8)),
    "sendgrid": ECDSA_KEY.private_bytes(*_PKCS8),
}
"""What signs where the source has the public half."""

BODY_FREE = ("atlassian-connect", "monday", "google-pubsub")
"""Their tokens are about the URL and say nothing of the body."""

UNSIGNED = (
    *(name for name, signer in SIGNERS.items() if "token.<locals>" in signer.__qualname__ or signer is basic),
    "figma",
    "microsoft-graph",
    *BODY_FREE,
)
"""These show a secret, or a token, and sign nothing of the body."""


def by_table(preset: Preset) -> Signer:
    """
    Sign as a row of the table says, for senders without a signer of their own above.

    It is a second reader of the table, for the ways that most senders have; `test_one_row` holds it to those above.
    """
    row = preset.rows[0]
    algorithm, prefix, clock = row.algorithm, row.prefix.decode(), row.clock

    def sign(secret: bytes, body: bytes, moment: datetime, ident: str) -> Fields:
        if algorithm == "token":
            return {row.place.name: prefix + secret.decode()}
        units = {"s": seconds, "ms": millis, "rfc3339": rfc3339}
        time = units[clock.unit](moment) if clock is not None else ""
        text = b"".join(
            {"{body}": body, "{timestamp}": time.encode(), "{id}": ident.encode()}.get(part, part.encode())
            for part in re.split(r"(\{[a-z]+\})", row.signed)
        )
        made = digest(row.key(secret), text, algorithm)
        writes = {"hex": made.hex(), "base64": b64(made)}
        fields = {row.place.name: prefix + writes[row.encoding]}
        if clock is not None and hasattr(clock.place, "prefix"):
            fields[row.place.name] = (
                f"{clock.place.prefix.decode()}{time}{row.separator.decode()}" + fields[row.place.name]
            )
        elif clock is not None and hasattr(clock.place, "name"):
            fields[clock.place.name] = time
        return fields | ({row.delivery.name: ident} if hasattr(row.delivery, "name") else {})

    return sign


def signer_of(name: str) -> Signer:
    """Choose who signs for a preset."""
    return SIGNERS.get(name) or by_table(PRESETS[name])


COMMON = tuple(
    name
    for name, preset in PRESETS.items()
    if preset.rows
    and type(preset.rows[0].place).__name__ == "InHeader"
    and preset.rows[0].algorithm in ("sha1", "sha256", "token")
    and preset.rows[0].encoding != "base64url"
    and not re.search(r"\{(?!body|timestamp|id)", preset.rows[0].signed)
    and not preset.rows[0].only
)
"""The presets that `by_table` can sign for."""
