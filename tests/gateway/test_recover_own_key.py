"""Calls with a customer's own key, found after a crash, cost nothing and are charged their card's fee."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from costplus.billing.store import Store, Tx
from costplus.billing.subscription import Subscription
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.gateway.journal import Journal
from costplus.gateway.recover import recover
from costplus.gateway.settle import Settler
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import RateCardVersion

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("fee", "price_nano"), [("0", 0), ("10", 1_500)])
async def test_a_call_that_nothing_is_heard_of_is_charged_its_fee(
    store: Store,
    account: Any,
    records: Any,
    tmp_path: Path,
    now: Callable[[], datetime],
    fee: str,
    price_nano: int,
) -> None:
    def change(tx: Tx) -> RateCardVersion:
        (version,) = tx.page(RateCardVersion)
        changed = replace(version, id="rcv_changed", own_key_fee_percent=Decimal(fee))
        tx.save(changed)
        for subscription in tx.page(Subscription):
            tx.save(replace(subscription, rate_card_version=changed.id))
        return changed

    card = await store.write(change)
    dying = Journal(tmp_path / "journal")
    dying.intend(records.intent("req_unheard", card=card.id, own_key=True))
    dying.close()
    journal = Journal(tmp_path / "journal")
    settler = Settler(store, journal, now=now, parked=tmp_path / "parked.jsonl")
    running = asyncio.ensure_future(settler.run())
    await recover(store, journal, settler, pricing=Pricing(bundled_catalogue()), owner="gw_1", now=now)
    settler.stop()
    await running
    journal.close()
    (entry,) = await store.read(lambda tx: tx.charged_page(customer=account.customer, limit=10))
    assert "byok" in entry.event.usage.flags
    assert (entry.charge.price_nano, entry.charge.cost_nano) == (
        price_nano,
        0,
    )  # 100 tokens at $0.15 a million.
    assert await account.credit_nano(store) == account.amount_nano - price_nano
