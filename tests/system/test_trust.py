"""Which authorities are trusted, by a TLS server whose authority only this machine knows."""

import ast
import asyncio
import ssl
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import clawback

SOURCE = Path(clawback.__file__).parent

ASK = """
import asyncio, sys
from clawback.commands.facts import fetch_page, http_client
async def ask():
    async with http_client(sys.argv[1]) as client:
        page, _ = await fetch_page(client, sys.argv[1])
        print(page.status, page.problem)
asyncio.run(ask())
"""


@pytest.fixture
def authority(tmp_path):
    """A certificate for 127.0.0.1 that signs itself, and its key, in files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority of nobody else")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (tmp_path / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    return tmp_path / "cert.pem", tmp_path / "key.pem"


@pytest.mark.parametrize("trusted", [True, False])
async def test_an_authority_that_the_machine_trusts_is_trusted(authority, trusted):
    """`SSL_CERT_FILE` names it, as a system's own store would; without it nobody is believed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority)

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            ASK,
            url,
            env={"SSL_CERT_FILE": str(authority[0])} if trusted else {},
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await program.communicate()

    assert said.decode().startswith("204" if trusted else "None [SSL: CERTIFICATE_VERIFY_FAILED]")


def test_every_way_out_has_that_trust():
    """An httpx client that is made without it would trust a list of its own."""
    made = [
        (path.name, call)
        for path in SOURCE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in {"httpx.AsyncClient", "httpx.Client"}
    ]

    assert made
    for name, call in made:
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert given.get("verify") == "system_trust()", f"{name}:{call.lineno}"
