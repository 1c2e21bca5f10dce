"""Calls to models without a price, found after a crash, are charged by what their card lets stand in."""

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
from costplus.billing.unpriced import UnpricedUsage
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.core.usage import Usage
from costplus.gateway.journal import Journal
from costplus.gateway.recover import recover
from costplus.gateway.settle import Settler
from costplus.rating.charge import rate
from costplus.rating.fallback import stand_in
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import FixedPrice, RateCardVersion

pytestmark = pytest.mark.slow

MODEL = "gpt-of-tomorrow"
FALLBACK = {"input": FixedPrice(Decimal(10), 1_000_000), "output": FixedPrice(Decimal(40), 1_000_000)}


@pytest.mark.parametrize(
    ("unpriced", "heard_nano", "swept_nano"), [("hold", 0, 0), ("fallback", 10_400_000, 1_000_000)]
)
@pytest.mark.parametrize("torn", [False, True])
async def test_recovered_calls_are_charged_by_the_cards_rule(
    store: Store,
    account: Any,
    records: Any,
    tmp_path: Path,
    now: Callable[[], datetime],
    unpriced: str,
    heard_nano: int,
    swept_nano: int,
    torn: bool,
) -> None:
    def change(tx: Tx) -> RateCardVersion:
        (version,) = tx.page(RateCardVersion)
        changed = replace(version, id="rcv_changed", unpriced=unpriced, fallback=FALLBACK)  # type: ignore[arg-type]  # A policy.
        tx.save(changed)
        for subscription in tx.page(Subscription):
            tx.save(replace(subscription, rate_card_version=changed.id))
        return changed

    card = await store.write(change)
    dying = Journal(tmp_path / "journal")
    used, rates = heard(records, card)
    for id in ("req_heard", "req_unheard"):
        dying.intend(records.intent(id, card=card.id, model=MODEL, price_version="pv_fallback_x"))
    dying.use(used, [] if torn else rates)
    dying.close()
    await restarted(store, tmp_path, now)
    page = await store.read(lambda tx: tx.charged_page(customer=account.customer, limit=10))
    charges = {entry.event.request_id: entry.charge for entry in page}
    reason = "model" if unpriced == "hold" else "fallback"
    assert (charges["req_heard"].price_nano, charges["req_heard"].unpriced) == (heard_nano, (reason,))
    assert (charges["req_unheard"].price_nano, charges["req_unheard"].unpriced) == (swept_nano, (reason,))
    queue = await store.read(lambda tx: tx.page(UnpricedUsage))
    assert {entry.policy for entry in queue} == {unpriced} and len(queue) == 2
    assert await account.credit_nano(store) == account.amount_nano - heard_nano - swept_nano


def heard(records: Any, card: RateCardVersion) -> tuple[Any, list[Any]]:
    """Return the journal's record of a call by the sheet that stands in, and its rates."""
    charge = rate(Usage({"input": 1000, "output": 10}), stand_in(card, provider="openai", model=MODEL))
    used, _ = records.used(
        "req_heard",
        card,
        model=MODEL,
        price_nano=charge.price_nano,
        cost_nano=0,
        lines=[(line.rate.id, line.quantity) for line in charge.lines],
        unpriced=charge.unpriced,
    )
    return used, [line.rate for line in charge.lines]


async def restarted(store: Store, folder: Path, now: Callable[[], datetime]) -> None:
    journal = Journal(folder / "journal")
    settler = Settler(store, journal, now=now, parked=folder / "parked.jsonl")
    running = asyncio.ensure_future(settler.run())
    await recover(store, journal, settler, pricing=Pricing(bundled_catalogue()), owner="gw_1", now=now)
    settler.stop()
    await running
    journal.close()
