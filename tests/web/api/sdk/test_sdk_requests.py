"""What the released SDK makes of refusals, repetitions and pages."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

pytestmark = pytest.mark.e2e


def refused(shop: Any) -> None:
    client = shop.client()
    with pytest.raises(stripe.InvalidRequestError) as missing:
        client.v1.customers.retrieve("cus_x")
    assert (missing.value.code, missing.value.http_status, missing.value.param) == (
        "resource_missing",
        404,
        "id",
    )
    with pytest.raises(stripe.AuthenticationError):
        shop.client("sk_test_wrong").v1.customers.list()
    options: Any = {"idempotency_key": "once"}
    first = client.v1.customers.create({"name": "Ann"}, options)
    assert client.v1.customers.create({"name": "Ann"}, options).id == first.id
    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({"name": "Bea"}, options)
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        client.v1.customers.create({"nam": "Ann"})  # type: ignore[typeddict-unknown-key]  # That is the point.
    assert unknown.value.code == "parameter_unknown"
    for name in ("a", "b", "c"):
        client.v1.customers.create({"name": name})
    listed = client.v1.customers.list({"limit": 1}).auto_paging_iter()
    assert [customer.name for customer in listed] == ["c", "b", "a", "Ann"]


async def test_refusals_repetitions_and_pages_are_what_it_expects(shop: Any) -> None:
    await shop.sees(refused)
