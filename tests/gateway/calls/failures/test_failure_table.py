"""The failure table: what the customer pays, what the provider's cost is and what is flagged, come what may.

Rule 1: a row is a scenario on real processes with the figures that the books must show; docs/failures.md is
written from the rows (`python scripts/failure_rows.py`) and compared with them.
Rule 2: figures are nanos of a dollar: a model's input costs 150 a token, its output 600, and sells for 30 %
more. A call that is counted has 100 tokens in and 30 out, and an estimate is made of the body and the answer.
Rule 3: after every row nothing is held and every transaction balances.
"""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from failure_rows import COUNTED, PAGE, Row, Table, ask, check, cost, page, price, seen

pytestmark = pytest.mark.e2e

TOMORROW = "gpt-of-tomorrow"


TABLE = Table()
row, sends = TABLE.row, TABLE.sends
FAILED = ("estimated", "failed_attempt")
FULL, COST = price(100, 30), cost(100, 30)
sends("Nothing: whole answer", "200, the answer", COUNTED, (100, 30))
sends(
    "Nothing: stream; its usage is asked for on the caller's behalf and taken out again",
    "200, a stream whole",
    COUNTED,
    (100, 30),
    stream=True,
)


for status, said in ((400, "invalid_request_error"), (429, "rate_limit_exceeded"), (500, "server_error")):

    @row(f"The provider refuses with {status}", f"{status} `{said}`")
    def _(world: Any, status: int = status) -> str:
        return seen(world.send(f"[[error={status}]]"))


sends("The provider rejects our key (401)", "502 `provider_credentials_rejected`", "[[error=401]]")


@row("The provider cannot be reached", "502 `upstream_unreachable`")
def _(world: Any) -> str:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with world.own(url=f"http://127.0.0.1:{closed.getsockname()[1]}"):
            return seen(world.send())


@row(
    "The provider hangs up before its answer: what it may have done for the request is cost",
    "502 `upstream_broken`",
    costs=(cost(39, 0),),
    flags=FAILED,
)
def _(world: Any) -> str:
    with world.one_that_hangs_up() as url, world.own(url=url):
        return seen(world.send())


sends(
    "A whole answer breaks off",
    "502 `upstream_broken`",
    COUNTED + "[[truncate]]",
    (43, 0),
    *FAILED,
    unasked=True,
)
sends(
    "The whole answer is garbage",
    "502 `provider_answer_invalid`",
    COUNTED + "[[garbage]]",
    (43, 0),
    *FAILED,
    unasked=True,
)
sends(
    "A stream breaks off half-way",
    "200, a stream ended by `upstream_broken`",
    COUNTED + "[[truncate]]",
    (49, 23),
    "estimated",
    stream=True,
)
sends(
    "A stream ends half-way with the provider's error object",
    "200, a stream ended by `server_error`",
    COUNTED + "[[stream_error]]",
    (50, 23),
    "estimated",
    stream=True,
)
sends(
    "A stream breaks off after its usage",
    "200, a stream ended by `upstream_broken`",
    COUNTED + "[[cut_late]]",
    (100, 30),
    stream=True,
)
sends(
    "The answer has no usage: estimated of its text",
    "200, the answer",
    COUNTED + "[[no_usage]]",
    (43, 49),
    "estimated",
)
sends(
    "The stream has no usage, though it was asked for",
    "200, a stream whole",
    COUNTED + "[[no_usage]]",
    (49, 49),
    "estimated",
    stream=True,
)
sends(
    "No usage, and more text than the model can generate: capped at its 16,384 tokens",
    "200, the answer",
    "[[tokens=20000]] [[no_usage]]",
    (41, 16_384),
    "estimated",
    max_tokens=20_000,
)


@row(
    "The truth about an estimate arrives: the estimate is taken back, the truth charged",
    "200, the answer",
    charged=FULL,
    costs=(cost(43, 49), -cost(43, 49), COST),
    flags=("estimated", "replaces_estimate"),
)
def _(world: Any) -> str:
    with world.own():
        answer = seen(world.send(COUNTED + "[[no_usage]]"))
    ((id,),) = world.gateway.books.rows("SELECT id FROM usage_events")
    truth = {"customer": world.customer, "quantities[input]": "100", "quantities[output]": "30"}
    path = f"/v1/token_billing/usage_events/{id}/replace"
    with world.whole_server() as api:
        told = [api.post(path, data=truth) for _ in range(2)]  # The same truth again changes nothing.
        assert [reply.json().get("price_nano") for reply in told] == [FULL, FULL], told[0].text
        other = api.post(path, data={**truth, "quantities[output]": "31"})
        assert (other.status_code, other.json()["error"]["code"]) == (400, "usage_already_replaced")
    return answer


@row("The client leaves before the answer", "nothing: it is gone", charged=FULL, costs=(COST,))
def _(world: Any) -> str:
    with world.socket_of(ask(COUNTED + "[[latency=300]]")):
        world.calls.until(lambda: world.gateway.books.open_intents(world.customer), "the call is under way")
    return "nothing: it is gone"


@row(
    "The client leaves in the middle of a stream, which is read on for its counts",
    "the beginning",
    charged=FULL,
    costs=(COST,),
)
def _(world: Any) -> str:
    with world.socket_of(ask(COUNTED + "[[chunk_ms=20]]", stream=True)) as client:
        assert b"200 OK" in client.recv(1000)
    return "the beginning"


@row(
    "The client leaves, and the stream does not end within `gateway.abandoned_s`",
    "the beginning",
    charged=price(48, 23),
    costs=(cost(48, 23),),
    flags=("estimated",),
)
def _(world: Any) -> str:
    with world.own(abandoned_s=1):
        with world.socket_of(ask(COUNTED + "[[stall]]", stream=True)) as client:
            read = b""
            while b"keep-alive" not in read:
                read += client.recv(10_000)
        world.calls.until(world.rows, "the call is settled")
    return "the beginning"


@row(
    "The gateway is killed before the answer: its intent becomes an estimate of the input",
    "nothing: it is cut off",
    charged=price(33, 0),
    costs=(cost(33, 0),),
    flags=("estimated", "swept"),
)
def _(world: Any) -> str:
    with world.own() as killed, world.socket_of(ask("[[hang]]")):
        world.calls.until(lambda: killed.books.open_intents(), "the intent is journalled")
        killed.process.popen.kill()
        killed.process.popen.wait(30)
    with world.own():
        return "nothing: it is cut off"


@row(
    "The gateway is killed after the answer, before its settlement",
    "200, the answer",
    charged=2 * FULL,
    costs=(COST, COST),
)
def _(world: Any) -> str:
    with world.own() as killed:
        world.send()
        world.calls.until(world.rows, "the first call is settled")
        with world.locked():
            answer = seen(world.send())
            killed.process.popen.kill()
            killed.process.popen.wait(30)
    assert len(world.rows()) == 1
    with world.own():
        return answer


@row(
    "The store is down: calls go on in what is reserved, and are settled when it is back",
    "200, the answer",
    charged=2 * FULL,
    costs=(COST, COST),
)
def _(world: Any) -> str:
    with world.own():
        world.send()
        world.calls.until(world.rows, "the first call is settled")
        with world.locked():
            answer = seen(world.send())
            assert len(world.rows()) == 1
        return answer


@row("The store is down, and nothing is reserved for the customer", "503 `storage_unavailable`")
def _(world: Any) -> str:
    with world.own(), world.locked():
        return seen(world.send())


@row(
    "Ten calls at once, with credit for three",
    "3 × 200, 7 × 402 `customer_credit_exhausted`",
    charged=3 * price(44, 30),
    costs=(cost(44, 30),) * 3,
)
def _(world: Any) -> str:
    text = "[[input=44]] [[tokens=30]] [[latency=200]]"
    body = ask(text, max_tokens=30)
    held = price(-(-len(json.dumps(body)) // 3), 30)
    with world.own(credit_nano=4 * held - 1), ThreadPoolExecutor(10) as threads:
        tasks = [threads.submit(world.send, text, max_tokens=30) for _ in range(10)]
        said = [seen(task.result()) for task in tasks]
    refused = [words for words in said if words != "200, the answer"]
    return f"{10 - len(refused)} × 200, {len(refused)} × {refused[0]}"


@row(
    "The credit ends in the middle of a stream; the card finishes it, and the rest is owed",
    "200, a stream whole",
    charged=price(100, 400),
    costs=(cost(100, 400),),
)
def _(world: Any) -> str:
    with world.own(credit_nano=100_000, output_tokens_default=50):
        answer = seen(world.send("[[input=100]] [[tokens=400]]", stream=True, max_tokens=None))
    assert world.gateway.books.owed_nano("cus_own") == price(100, 400) - 100_000
    return answer


@row(
    "The credit ends in the middle of a stream, and the card has it cut (`on_exhaustion`)",
    "200, a stream whole, at its limit",
    charged=price(49, 326),
    costs=(cost(49, 326),),
    flags=("cut", "estimated"),
)
def _(world: Any) -> str:
    world.set_card(credit_nano=100_000, on_exhaustion="cut")
    with world.own(credit_nano=100_000, output_tokens_default=50):
        return seen(world.send("[[input=100]] [[tokens=400]] [[stall]]", stream=True, max_tokens=None))


sends("The model has no price, and the card refuses such", "400 `model_unpriced`", COUNTED, model=TOMORROW)


@row(
    "The model has no price, and the card holds such: charged nothing until there is one",
    "200, the answer",
    costs=(0,),
    flags=("unpriced",),
)
def _(world: Any) -> str:
    world.set_card(unpriced="hold")
    with world.own():
        return seen(world.send(model=TOMORROW))


@row(
    "The price of such a model becomes known",
    "200, the answer",
    charged=FULL,
    costs=(0, COST),
    flags=("unpriced",),
)
def _(world: Any) -> str:
    world.set_card(unpriced="hold")
    with world.own():
        answer = seen(world.send(model=TOMORROW))
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    form = {
        "provider": "openai",
        "model": TOMORROW,
        "new_model": "true",
        "prices[input]": "0.15",
        "prices[output]": "0.6",
    }
    with world.whole_server() as api:
        made = api.post("/v1/token_billing/price_overrides", data={**form, "valid_from": since})
        assert made.status_code == 200, made.text
        world.calls.until(
            lambda: api.post("/v1/token_billing/unpriced_usage/resolve") and world.rows()[1:], ""
        )
    return answer


def test_the_page_says_what_the_rows_say() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `python scripts/failure_rows.py`"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.event)
def test_the_books_show_what_the_table_says(row: Row, world: Any, calls: Any) -> None:
    check(row, world, calls)
