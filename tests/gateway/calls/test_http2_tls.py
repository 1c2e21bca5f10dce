"""The port speaks HTTP/1.1 and HTTP/2, with TLS and without; an answer is the same on all of them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

pytestmark = pytest.mark.e2e

DOLLAR = 10**9
CHAT = "/v1/chat/completions"


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for this machine that is its own root."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert_file, key_file


@pytest.fixture(scope="module")
def plain(calls: Any, provider: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("plain")
    calls.seed(folder, {"cus_1": 10 * DOLLAR})
    with calls.gateway_on(folder, calls.environment(provider.url)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def secure(calls: Any, provider: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("secure")
    calls.seed(folder, {"cus_1": 10 * DOLLAR})
    cert, key = write_certificate(folder)
    files = {"COSTPLUS_TLS_CERT": str(cert), "COSTPLUS_TLS_KEY": str(key)}
    with calls.gateway_on(folder, calls.environment(provider.url) | files) as gateway:
        yield gateway


@pytest.fixture(params=["1.1", "2", "1.1 over TLS", "2 over TLS"])
def spoken(
    request: pytest.FixtureRequest, calls: Any, plain: Any, secure: Any
) -> Iterator[tuple[httpx2.Client, Any]]:
    """Return a client of one kind, and the gateway that it speaks to."""
    version, _, tls = request.param.partition(" ")
    gateway = secure if tls else plain
    context = ssl.create_default_context(cafile=gateway.folder / "cert.pem") if tls else False
    headers = {"authorization": f"Bearer {calls.merchant_key}", "x-stripe-customer-id": "cus_1"}
    with httpx2.Client(
        base_url=gateway.url,
        http1=version == "1.1" or bool(tls),  # Over TLS it may choose.
        http2=version == "2",
        verify=context,
        headers=headers,
        trust_env=False,
    ) as client:
        yield client, gateway
        answer = client.get("/healthz")
        assert answer.http_version == f"HTTP/{version}" and answer.url.scheme == ("https" if tls else "http")


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}


def test_a_whole_answer_is_billed(spoken: tuple[httpx2.Client, Any]) -> None:
    client, gateway = spoken
    answer = client.post(CHAT, json=ask("[[tokens=9]]"))
    assert answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] == 9
    assert gateway.books.wait_for(answer.headers["costplus-request-id"]).quantities["output"] == 9


def test_a_stream_comes_piece_by_piece_and_is_billed(spoken: tuple[httpx2.Client, Any]) -> None:
    client, gateway = spoken
    with client.stream("POST", CHAT, json=ask("[[tokens=20]] [[chunk_ms=20]]", stream=True)) as answer:
        pieces = list(answer.iter_bytes())
    assert len(pieces) > 3 and b"".join(pieces).endswith(b"data: [DONE]\n\n")
    assert gateway.books.wait_for(answer.headers["costplus-request-id"]).quantities["output"] == 20


def test_a_refusal_and_a_large_request_come_through(spoken: tuple[httpx2.Client, Any]) -> None:
    client, _ = spoken
    assert client.post(CHAT, json=ask("hello", model="made-up")).json()["error"]["code"]
    assert client.post(CHAT, json=ask("x" * 300_000 + " [[tokens=5]]")).status_code == 200


def test_calls_share_one_connection_of_http_2(plain: Any, calls: Any) -> None:
    headers = {"authorization": f"Bearer {calls.merchant_key}", "x-stripe-customer-id": "cus_1"}
    with (
        httpx2.Client(
            base_url=plain.url, http1=False, http2=True, headers=headers, trust_env=False
        ) as client,
        client.stream("POST", CHAT, json=ask("[[tokens=50]] [[chunk_ms=20]]", stream=True)) as slow,
    ):
        pieces = slow.iter_bytes()
        next(pieces)
        assert client.post(CHAT, json=ask("[[tokens=5]]")).status_code == 200
        assert b"".join(pieces).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("cert", "key", "wrong"),
    [("cert.pem", "", "both"), ("none.pem", "key.pem", "none.pem"), ("key.pem", "cert.pem", "key.pem")],
)
def test_files_that_are_no_certificate_are_explained_at_the_start(
    cert: str, key: str, wrong: str, calls: Any, tmp_path: Path
) -> None:
    write_certificate(tmp_path)
    files = {"COSTPLUS_TLS_CERT": str(tmp_path / cert)} | (
        {"COSTPLUS_TLS_KEY": str(tmp_path / key)} if key else {}
    )
    with (
        pytest.raises(AssertionError) as said,
        calls.started("serve", "--port", "0", folder=tmp_path, environ=files),
    ):
        pass
    assert "settings_invalid" in str(said.value) and wrong in str(said.value)
