"""Connecting to an address does not weaken TLS: the certificate is still checked against the link's own name."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.domain.errors import Transient
from orchestrator.egress import GuardedFetch
from tests.egress.server import head, run, saying, serving

BODY = head("Content-Length: 5") + b"hello"
VALID_FROM, VALID_TO = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)


async def resolve_to_loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for files.example that is its own authority, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "files.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(VALID_FROM)
        .not_valid_after(VALID_TO)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("files.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(
    ("host", "is_trusted", "is_fetched"),
    [("files.example", True, True), ("other.example", True, False), ("files.example", False, False)],
    ids=["right name", "wrong name", "unknown authority"],
)
def test_the_certificate_must_name_the_link(
    certificate: Path, tmp_path: Path, host: str, is_trusted: bool, is_fetched: bool
) -> None:
    """F18, for downloads: the server is asked by name although the connection goes to an address."""
    asked: list[str | None] = []

    def note_name(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        asked.append(name)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = note_name

    async def work() -> None:
        async with serving(saying(BODY), tls=context) as server:
            fetch = GuardedFetch(
                allow=[f"{host}:{server.port}"],
                resolve=resolve_to_loopback,
                ca_bundle=certificate if is_trusted else None,
            )
            call = fetch.fetch(
                f"https://{host}:{server.port}/a", tmp_path / "out", max_bytes=99, deadline=timedelta(minutes=1)
            )
            if is_fetched:
                assert (await call).byte_count == 5
                return
            with pytest.raises(Transient) as caught:
                await call
            assert caught.value.code == "connect_failed"
            assert caught.value.message.startswith(f"{host}: no trusted TLS connection: ")

    run(work())
    assert asked == [host]
