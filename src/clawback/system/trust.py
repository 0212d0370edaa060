"""
Which certificate authorities are trusted: the system's, on every way out.

httpx brings a list of its own, which knows no private authority that a machine was taught to trust. OpenSSL reads the
system's, and `SSL_CERT_FILE` and `SSL_CERT_DIR` where they are set, as the WebSocket and other programs do.
"""

import ssl
from functools import cache


@cache
def system_trust() -> ssl.SSLContext:
    """Build the context for TLS connections out of here, once: it takes some 10 ms to read the authorities."""
    return ssl.create_default_context()
