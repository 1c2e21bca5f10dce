"""`/v1/token_billing/customers/{id}/forecast`: when credit ends, and what the next invoice will ask for."""

from __future__ import annotations

from costplus.billing.clock import customer_of
from costplus.billing.forecast import Forecast
from costplus.billing.project import LOOKBACK_DAYS, LOOKBACK_DAYS_MAX, forecast_of
from costplus.billing.store import Tx
from costplus.web.call import Call, get


def retrieve(tx: Tx, call: Call) -> Forecast:
    """Forecast a customer's credit and invoice from its last `days` (7), with what that is computed from."""
    customer = customer_of(tx, call.path["id"], param="id")
    days = call.params.integer("days", least=1, most=LOOKBACK_DAYS_MAX) or LOOKBACK_DAYS
    return forecast_of(tx, customer, at=call.present(tx, customer.id), days=days)


ENDPOINTS = (get("/v1/token_billing/customers/{id}/forecast", retrieve, fresh=True, writes=True),)
