"""`/v1/test_helpers/test_clocks`: time that stands still until it is told to pass."""

from __future__ import annotations

from costplus.billing.close import every_customer
from costplus.billing.customer import TestClock
from costplus.billing.store import Tx
from costplus.billing.timed import elapse
from costplus.core.errors import NotFound
from costplus.core.ids import new_id
from costplus.web.api.deletions import delete_customer
from costplus.web.call import Call, Listing, delete, get, post
from costplus.web.listing import records
from costplus.web.objects.customer import deleted_object


class NoSuchTestClock(NotFound):
    """The test clock does not exist."""

    code = "resource_missing"


def clock_of(tx: Tx, id: str, *, param: str = "id") -> TestClock:
    """Return the test clock, or raise `NoSuchTestClock`."""
    clock = tx.find(TestClock, id)
    if clock is None:
        raise NoSuchTestClock(f"No such test clock: '{id}'", param=param)
    return clock


def create(tx: Tx, call: Call) -> TestClock:
    """Create a clock that stands at `frozen_time`."""
    clock = TestClock(
        id=new_id("clock", at=call.at),
        created=call.at,
        frozen_time=call.params.required_time("frozen_time"),
        name=call.params.text("name", longest=300),
    )
    tx.save(clock)
    tx.touch("config")
    call.announce(tx, "test_helpers.test_clock.created", clock, at=call.at)
    return clock


def retrieve(tx: Tx, call: Call) -> TestClock:
    """Return a test clock."""
    return clock_of(tx, call.path["id"])


def pass_time(tx: Tx, call: Call) -> TestClock:
    """Move the clock; everything due for its customers on the way has happened when this answers."""
    to = call.params.required_time("frozen_time")
    return elapse(tx, clock_of(tx, call.path["id"]), to=to)


async def _collected(call: Call, begun: object) -> TestClock:
    """Have the payments made that became due on the way."""
    assert isinstance(begun, TestClock)
    if call.context.payments is not None:
        await call.context.payments.collect_due(clock=begun.id)
    return begun


def remove(tx: Tx, call: Call) -> object:
    """Delete the clock and its customers."""
    clock = clock_of(tx, call.path["id"])
    for customer in list(every_customer(tx, clock=clock.id)):
        delete_customer(tx, call, customer)
    tx.remove(TestClock, clock.id)
    tx.touch("config")
    return deleted_object("test_helpers.test_clock", clock.id)


def index(tx: Tx, call: Call) -> Listing:
    """List test clocks, newest first."""
    return records(tx, call, TestClock)


ENDPOINTS = (
    post("/v1/test_helpers/test_clocks", create),
    get("/v1/test_helpers/test_clocks", index),
    get("/v1/test_helpers/test_clocks/{id}", retrieve),
    delete("/v1/test_helpers/test_clocks/{id}", remove),
    post("/v1/test_helpers/test_clocks/{id}/advance", pass_time, fresh=True, finish=_collected),
)
