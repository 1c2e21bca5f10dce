"""What needs a decision, on the seller's overview."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from costplus.billing.margin_alarm import MarginAlarm
from costplus.billing.store import Tx
from costplus.catalog.book import PriceChange, RecordedMove, SourceState
from costplus.core.records import Record
from costplus.rating.rate_card import RateCard
from costplus.web.figures import days
from costplus.web.pages import commands
from costplus.web.pages.decisions import CHANGES_MAX, SHOWN_MAX

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TITLE = "Needs a decision"
DOUBLED = RecordedMove(leaf="input", when="", old="0.0000004", new="0.0000008", standing="single")


async def keep(seller: Any, *records: Record) -> None:
    def verb(tx: Tx) -> None:
        for record in records:
            tx.save(record)

    await seller.store.write(verb)


def change(id: str = "pc_1", **fields: Any) -> PriceChange:
    known: dict[str, Any] = {
        "id": id,
        "created": NOON,
        "provider": "openai",
        "model": "gpt-4.1-mini",
        "kind": "price",
        "status": "held",
        "digest": id,
        "components": (("input", "0.8", 10**6, None),),
        "effective_at": NOON,
        "moves": (DOUBLED,),
        "reasons": ("ratio_10x", "sources_disagree"),
    }
    return PriceChange(**{**known, **fields})


def alarm(id: str, card: str = "rcd_gone", **fields: Any) -> MarginAlarm:
    known: dict[str, Any] = {
        "id": id,
        "created": NOON,
        "shortfall": "negative",
        "rate_card": card,
        "rate_card_version": "rcv_1",
        "provider": "openai",
        "model": id,
        "price_version": f"pv_{id}",
        "margin_percent": "-200/13",
        "target_percent": "300/13",
        "revenue_nano": 195,
        "cost_nano": 300,
    }
    return MarginAlarm(**{**known, **fields})


async def test_where_nothing_waits_the_page_does_not_speak_of_decisions(seller: Any) -> None:
    await seller.busy()
    seller.price_sources = {"litellm": "https://lists.example"}
    await keep(
        seller,
        change("pc_1", status="applied"),
        change("pc_2", status="soaking"),
        alarm("malm_1", recovered_at=NOON),
        SourceState(id="litellm", created=NOON, checked_at=NOON, accepted_at=NOON - DAY),
    )
    assert TITLE not in (await seller.show_admin()).text


async def test_a_held_change_shows_what_moves_why_it_waits_and_what_approves_it(seller: Any) -> None:
    await seller.customer()
    await keep(seller, change())
    page = await seller.show_admin()
    assert f"{TITLE} Price changes held: 1" in page.text
    row = page.row("openai/gpt-4.1-mini")
    assert row[1] == "input: $0.40 / 1M tokens → $0.80 / 1M tokens"
    assert "as when a list mistakes its unit. The sources say different things." in row[2]
    assert row[3] == "costplus prices approve pc_1"
    assert "costplus prices approve pc_1" in page.commands
    assert "costplus prices diff" not in page.text


async def test_list_prices_come_first_and_of_many_parts_the_rest_is_counted(seller: Any) -> None:
    long = RecordedMove(
        leaf="input", when="prompt_tokens>200000", old=None, new="0.000002", standing="single"
    )
    batch = RecordedMove(leaf="output", when="× batch", old="0.5", new="0.6", standing="single")
    gone = RecordedMove(leaf="web_search", when="", old="0.01", new=None, standing="single")
    await keep(seller, change(moves=(long, batch, DOUBLED, gone)))
    cell = (await seller.show_admin()).row("openai/gpt-4.1-mini")[1]
    listed, of_prompt = cell.split(" input [prompt_tokens>200000]: ")
    assert listed.startswith("input: $0.40 / 1M tokens → ")
    assert listed.endswith("web search: $0.01 / call → nothing stated")
    assert of_prompt == "nothing stated → $2.00 / 1M tokens and 1 more"
    await keep(seller, change(moves=(batch,)))
    assert (await seller.show_admin()).row("openai/gpt-4.1-mini")[1] == "output [× batch]: ×0.5 → ×0.6"


async def test_a_price_in_another_currency_is_written_in_it(seller: Any) -> None:
    await keep(seller, change(model="new", reasons=("currency_changed", "later_reason")))
    row = (await seller.show_admin()).row("openai/new")
    assert row[1].endswith("→ $0.80 / 1M tokens") and row[2].endswith("later_reason")


async def test_of_many_changes_the_newest_are_shown_and_all_are_counted(seller: Any) -> None:
    await keep(seller, *(change(f"pc_{n}", model=f"m{n}") for n in range(SHOWN_MAX + 1)))
    page = await seller.show_admin()
    assert f"Price changes held: {SHOWN_MAX + 1}" in page.text
    shown = [row[0].split()[0] for row in page.rows if row[0].startswith("openai/m")]
    assert shown == [f"openai/m{n}" for n in range(SHOWN_MAX, 0, -1)]
    assert "costplus prices diff lists all." in page.text


async def test_no_more_than_the_latest_changes_are_looked_through(seller: Any) -> None:
    applied = [change(f"pc_{n}", status="applied") for n in range(CHANGES_MAX - 1)]
    await keep(seller, change("pc_old"), *applied)
    assert "Price changes held: 1 of the latest 2,000" in (await seller.show_admin()).text
    await keep(seller, change("pc_last", status="applied"))
    assert TITLE not in (await seller.show_admin()).text


async def test_usage_without_a_price_is_counted_by_model_most_first(seller: Any) -> None:
    await seller.customer()
    for key, model in (("k1", "gpt-98"), ("k2", "gpt-99"), ("k3", "gpt-99")):
        await seller.use(key, model=model, input=7)
    page = await seller.show_admin()
    assert "Usage without a price: 3 events" in page.text
    waiting = [row for row in page.rows if len(row) == 2 and row[0].startswith("openai/")]
    assert waiting == [["openai/gpt-99", "2"], ["openai/gpt-98", "1"]]
    assert "costplus prices override openai/gpt-99 input=… output=… --new-model" in page.commands


async def test_of_many_models_without_a_price_the_rest_is_counted(seller: Any) -> None:
    await seller.customer()
    for n in range(SHOWN_MAX + 2):
        await seller.use(f"k{n}", model=f"gpt-9{n}", input=7)
    assert "And 2 more models: GET /v1/token_billing/unpriced_usage" in (await seller.show_admin()).text


async def test_names_that_others_chose_are_escaped_and_cannot_end_a_command(seller: Any) -> None:
    await seller.customer()
    await seller.use("k1", model="x'; rm <b>", input=7)
    await keep(seller, change(model="<script>alert(1)</script>"))
    page = await seller.show_admin()
    assert not {"script", "b"} & {tag for tag, _ in page.tags}
    assert "openai/<script>alert(1)</script>" in page.text
    assert commands.own_price("openai/x; y").startswith("costplus prices override 'openai/x; y' ")
    assert any("""'openai/x'"'"'; rm <b>'""" in command for command in page.commands)


@pytest.mark.parametrize(
    ("state", "row"),
    [
        ({"accepted_at": NOON - 30 * DAY}, None),
        (
            {"accepted_at": NOON - 31 * DAY},
            ["stale", "2026-10-24 12:00:00 UTC", "No new revision for more than 30 days."],
        ),
        (
            {"status": "rejected", "error": "half of <it> is gone"},
            ["rejected", "never", "half of <it> is gone"],
        ),
        ({"status": "unavailable", "error": "timeout"}, None),
    ],
)
async def test_followed_lists_that_are_stale_or_rejected_are_named(
    seller: Any, state: dict[str, Any], row: list[str] | None
) -> None:
    await keep(seller, SourceState(id="litellm", created=NOON, checked_at=NOON, **state))
    assert TITLE not in (await seller.show_admin()).text  # It is not followed.
    seller.price_sources = {"litellm": "https://lists.example"}
    page = await seller.show_admin()
    assert [found[1:] for found in page.rows if found[0] == "litellm"] == ([row] if row else [])
    assert ("costplus prices sources" in page.commands) is (row is not None)


async def test_open_margin_alarms_say_how_little_is_left_and_on_which_card(seller: Any) -> None:
    await seller.customer()
    card = await seller.store.read(lambda tx: tx.page(RateCard)[0])
    await keep(
        seller,
        alarm("cheap", card.id),
        alarm("thin", shortfall="below_target", margin_percent="10"),
        alarm("free", margin_percent=None),
        alarm("fine", recovered_at=NOON),
    )
    page = await seller.show_admin()
    assert "Models sold for too little: 3" in page.text
    assert page.row("openai/cheap")[1:3] == ["AI · LLM tokens", "−15.38 % below its cost"]
    assert page.row("openai/thin")[1:3] == ["rcd_gone", "10.00 % target 23.08 %"]
    assert page.row("openai/free")[2] == "– below its cost"
    assert f"/v1/token_billing/rate_cards/{card.id}/adopt" in page.row("openai/cheap")[3]
    await keep(seller, *(alarm(f"more{n}") for n in range(SHOWN_MAX)))
    assert f"These are the newest {SHOWN_MAX}." in (await seller.show_admin()).text


async def test_the_overview_says_how_old_the_prices_are(seller: Any) -> None:
    assert "Age of provider prices 23 days snapshot of 2026-11-01" in (await seller.show_admin()).text
    await keep(seller, SourceState(id="litellm", created=NOON, checked_at=NOON, accepted_at=NOON - DAY))
    told = "Age of provider prices 1 day last revision accepted 2026-11-23 12:00:00 UTC"
    assert told in (await seller.show_admin()).text
    assert (days(0), days(1), days(1200)) == ("0 days", "1 day", "1,200 days")
