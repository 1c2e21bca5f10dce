"""Put payments together: which providers there are, and how the simulated one reaches this server."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import httpx2
import structlog

from costplus.billing.collector import Collector
from costplus.billing.payments.base import PaymentPort
from costplus.billing.payments.fake import FAKE, FakeProcessor, Send
from costplus.billing.payments.manual import MANUAL, ManualPayments
from costplus.billing.store import Store
from costplus.bootstrap import link_secret
from costplus.config import Settings

CALLBACK_S = 10

log = structlog.get_logger("costplus.payments")


@dataclass(slots=True, kw_only=True)
class Payments:
    """What asks payment providers, and the simulated one where there is one."""

    collector: Collector
    fake: FakeProcessor | None


def start_payments(
    settings: Settings, store: Store, now: Callable[[], datetime], *, base_url: str
) -> Payments:
    """Return the payment providers that the settings name."""
    ports: dict[str, PaymentPort] = {MANUAL: ManualPayments()}
    fake: FakeProcessor | None = None
    if settings.payments.fake and not settings.secret_key.startswith("sk_live_"):
        secret = hmac.new(link_secret(settings), b"fake callbacks", hashlib.sha256).digest()
        fake = FakeProcessor(store, secret=secret, now=now, send=_callbacks_to(base_url))
        ports[FAKE] = fake
    return Payments(collector=Collector(store, ports, now=now), fake=fake)


def _callbacks_to(base_url: str) -> Send:
    """Return what posts the simulated processor's callbacks to this installation."""

    async def send(body: bytes, headers: Mapping[str, str]) -> int:
        url = f"{base_url}/v1/token_billing/callbacks/{FAKE}"
        try:
            async with httpx2.AsyncClient(timeout=CALLBACK_S) as client:
                return (await client.post(url, content=body, headers=dict(headers))).status_code
        except (httpx2.HTTPError, OSError) as error:
            log.warning("fake_callback_unanswered", url=url, error=repr(error))
            return 0

    return send
