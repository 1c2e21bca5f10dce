"""Signatures, checked by Stripe's own library and by the words of the Standard Webhooks specification."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

import pytest
import stripe

from costplus.web.signature import signed_headers, standard_key, standard_signature, stripe_signature

BODY = '{"id":"evt_1","object":"event","type":"customer.created","data":{"object":{"name":"Zoë"}}}'.encode()
KEY = bytes(range(24))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


def test_stripes_library_accepts_our_signature() -> None:
    header = stripe_signature(SECRET, timestamp_s=int(time.time()), body=BODY)
    event = stripe.Webhook.construct_event(BODY, header, SECRET)  # type: ignore[no-untyped-call]  # Untyped there.
    assert event.id == "evt_1"


@pytest.mark.parametrize(
    ("secret", "body", "age_s"),
    [("whsec_other", BODY, 0), (SECRET, BODY + b" ", 0), (SECRET, BODY, 301)],
    ids=["another secret", "one byte more", "too old"],
)
def test_stripes_library_refuses_what_we_did_not_sign(secret: str, body: bytes, age_s: int) -> None:
    header = stripe_signature(SECRET, timestamp_s=int(time.time()) - age_s, body=BODY)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, header, secret)  # type: ignore[no-untyped-call]  # Untyped there.


def test_the_stripe_signature_equals_the_one_stripe_makes() -> None:
    expected = hmac.new(SECRET.encode(), b"1700000000." + BODY, hashlib.sha256).hexdigest()
    assert stripe_signature(SECRET, timestamp_s=1_700_000_000, body=BODY) == f"t=1700000000,v1={expected}"


def test_the_standard_signature_equals_the_specifications_example() -> None:
    # From the test vectors of the Standard Webhooks libraries.
    signature = standard_signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp_s=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (SECRET, KEY),
        (
            "whsec_01JD0000000000000000000000",
            b"whsec_01JD0000000000000000000000",
        ),  # 26 characters: no base64.
        ("whsec_", b"whsec_"),
        ("whsec_Zoë", "whsec_Zoë".encode()),
    ],
)
def test_a_secret_that_is_no_base64_is_taken_as_it_stands(secret: str, key: bytes) -> None:
    assert standard_key(secret) == key


def test_every_delivery_is_signed_in_both_schemes() -> None:
    headers = signed_headers([SECRET], id="evt_1", timestamp_s=5, body=b"{}")
    assert headers == {
        "stripe-signature": stripe_signature(SECRET, timestamp_s=5, body=b"{}"),
        "webhook-id": "evt_1",
        "webhook-timestamp": "5",
        "webhook-signature": standard_signature(SECRET, id="evt_1", timestamp_s=5, body=b"{}"),
    }
