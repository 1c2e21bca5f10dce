"""The rows of the failure table, as its tests make and check them, and the page that is written from them."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "failures.md"
FOLDER = ROOT / "tests" / "gateway" / "calls" / "failures"
FILES = ("test_failure_table.py", "test_failover_table.py")
COUNTED = "[[input=100]] [[tokens=30]]"


def cost(input: int, output: int) -> int:
    return input * 150 + output * 600


def price(input: int, output: int) -> int:
    return input * 195 + output * 780


def ask(text: str = COUNTED, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": "gpt-4o-mini", "max_tokens": 500, "messages": messages, **more}


Scenario = Callable[[Any], str]


@dataclass(frozen=True)
class Row:
    """One line of the table; `does` returns what its client saw."""

    event: str
    client: str
    charged: int
    costs: tuple[int, ...]
    flags: tuple[str, ...]
    does: Scenario

    @property
    def cells(self) -> tuple[str, ...]:
        costs = " ".join(f"{cost:+,}" for cost in self.costs).removeprefix("+") or "none"
        flags = ", ".join(f"`{flag}`" for flag in self.flags) or "–"
        return self.event, self.client, f"{self.charged:,}", costs, flags


HEAD = """# What happens when something fails

What the customer is charged, the rows of the provider's cost, and the flag in the books, in nanos of a
dollar. The calls are of `gpt-4o-mini` sold at cost + 30 %: 150 and 600 nanos a token cost, 195 and 780 the
price. A call that is counted has 100 tokens in and 30 out; an estimate is made of the request's size and the
text that was seen. Every row is a test with real processes, and this page is written from it
(`scripts/failure_rows.py`). After each of them nothing is held any more.

| when | the client gets | charged | cost rows | flags |
|---|---|---:|---:|---|
"""


class Table(list[Row]):
    """Some rows of the table; each is a scenario and what comes of it."""

    def row(
        self,
        event: str,
        client: str,
        *,
        charged: int = 0,
        costs: tuple[int, ...] = (),
        flags: tuple[str, ...] = (),
    ) -> Callable[[Scenario], Scenario]:
        """Add a row."""

        def kept(does: Scenario) -> Scenario:
            self.append(Row(event, client, charged, costs, flags, does))
            return does

        return kept

    def sends(
        self,
        event: str,
        client: str,
        text: str,
        used: tuple[int, int] | None = None,
        *flags: str,
        unasked: bool = False,
        **more: Any,
    ) -> None:
        """Add a row of one call to the shared gateway: `used` are its tokens, charged unless `unasked`."""
        charged = price(*used) if used and not unasked else 0
        does = self.row(event, client, charged=charged, costs=(cost(*used),) if used else (), flags=flags)
        does(lambda world: seen(world.send(text, **more)))


def seen(answer: httpx2.Response) -> str:
    """Return in words what a client got."""
    text = answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        shown = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        errors = [event["error"].get("code") or event["error"]["type"] for event in shown if "error" in event]
        usage = ", with its usage" if any(event.get("usage") for event in shown) else ""
        end = f"ended by `{errors[0]}`" if errors else "whole" if "[DONE]" in text else "cut short"
        limit = ", at its limit" if '"finish_reason":"length"' in text else ""
        return f"200, a stream {end}{usage}{limit}"
    if answer.status_code == 200:
        return "200, the answer"
    error = answer.json()["error"]
    return f"{answer.status_code} `{error['code'] or error['type']}`"


def check(row: Row, world: Any, calls: Any) -> None:
    """Let a row take place, and compare what the books show with what it says."""
    client = row.does(world)
    books = world.gateway.books
    calls.until(lambda: len(world.rows()) >= len(row.costs), "all is settled")
    found = world.rows()
    flags = [flag for _, _, flags in found for flag in sorted(flags)]
    shown = (client, sum(price for price, _, _ in found), tuple(cost for _, cost, _ in found), tuple(flags))
    assert shown == (row.client, row.charged, row.costs, row.flags), shown
    assert books.open_intents(world.customer) == []
    if not world.is_shared:
        calls.until(lambda: books.held_nano() == 0, "nothing is held")
    assert books.unbalanced() == []


def page() -> str:
    """Return docs/failures.md as the rows make it."""
    tables = [runpy.run_path(str(FOLDER / name))["TABLE"] for name in FILES]
    return HEAD + "".join(f"| {' | '.join(row.cells)} |\n" for table in tables for row in table)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
