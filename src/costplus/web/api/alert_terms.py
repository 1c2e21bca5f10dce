"""What the parameters of a new alert say, by its type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costplus.billing.alert import Alert, AlertType, Rate, Recurrence
from costplus.billing.clock import customer_of
from costplus.billing.customer import ApiKey, Customer
from costplus.billing.project import LOOKBACK_DAYS, LOOKBACK_DAYS_MAX
from costplus.billing.spend import SPANS
from costplus.billing.store import Tx
from costplus.core.errors import InvalidRequest, NotFound
from costplus.web.api.meters import meter_of
from costplus.web.errors import NotSupported
from costplus.web.params import InvalidText, Params

RECURRENCES: tuple[Recurrence, ...] = ("one_time", "recurring")
RATES: tuple[Rate, ...] = ("hour", "day")
RUN_OUT_DAYS_MAX = 366
CURRENCY_LETTERS = 3


class NoSuchFilteredKey(NotFound):
    """The filter names a key that does not exist, or one of the seller's own."""

    code = "resource_missing"
    remedy = "Name a key of a customer's: GET /v1/token_billing/keys?customer=cus_… lists them."


class AlertCurrency(InvalidRequest):
    """The alert's amount is in another currency than its customer's, so it could never fire."""

    code = "alert_currency_mismatch"
    remedy = "Give the amount in the customer's currency."


class MeterNotSummed(InvalidRequest):
    """The meter's values do not add up, so a sum of them cannot reach a threshold."""

    code = "alert_meter_not_summed"
    remedy = "Use a meter that sums or counts its events, without an event_time_window."


@dataclass(frozen=True, slots=True)
class Filters:
    """Whose usage an alert watches, and which part of it."""

    customer: Customer | None
    api_key: str = ""
    model: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        customer = self.customer.id if self.customer else ""
        return {"customer": customer, "api_key": self.api_key, "model": self.model}


def _filters(tx: Tx, level: Params, kinds: Sequence[str] = ("customer",)) -> Filters:
    """Return the filters, at most one of each kind; a key's customer is filtered for as well."""
    found: dict[str, tuple[str, str]] = {}
    for entry in level.each("filters"):
        kind = entry.required_choice("type", kinds)
        if kind in found:
            raise NotSupported(
                f"An alert filters for one {kind} at most.",
                param=level.name_of("filters"),
                remedy=f"Create one alert per {kind}, or leave the filter out to watch everybody.",
            )
        found[kind] = (entry.required_text(kind), entry.name_of(kind))
    customer = None
    if "customer" in found:
        id, param = found["customer"]
        customer = customer_of(tx, id, param=param)
    if "api_key" in found:
        id, param = found["api_key"]
        key = tx.find(ApiKey, id)
        if key is None or not key.customer or (customer and key.customer != customer.id):
            raise NoSuchFilteredKey(f"No such key: '{id}'", param=param)
        customer = customer_of(tx, key.customer)
    return Filters(customer, found.get("api_key", ("",))[0], found.get("model", ("",))[0])


def _money(level: Params, filters: Filters, *, least: int) -> dict[str, Any]:
    """Return an amount's fields, in the customer's currency where the alert is one customer's."""
    currency = level.required_text("currency").lower()
    param = level.name_of("currency")
    if len(currency) != CURRENCY_LETTERS or not (currency.isascii() and currency.isalpha()):
        raise InvalidText(
            f"'{currency}' is no currency.", param=param, remedy="Give an ISO code such as usd."
        )
    if filters.customer is not None and filters.customer.currency != currency:
        raise AlertCurrency(
            f"Customer {filters.customer.id} is billed in {filters.customer.currency}, not in {currency}.",
            param=param,
        )
    return {"currency": currency, "threshold_minor": level.required_integer("value", least=least)}


def _credit(tx: Tx, level: Params) -> dict[str, Any]:
    filters, least = _filters(tx, level), level.within("lte")
    least.required_choice("balance_type", ("monetary",))
    return filters.fields | _money(least.within("monetary"), filters, least=0)


def _spend(tx: Tx, level: Params) -> dict[str, Any]:
    filters, most = _filters(tx, level, ("customer", "api_key", "model")), level.within("gte")
    most.choice("type", ("amount",))
    span = level.required_choice("aggregation_period", SPANS)
    return filters.fields | {"span": span} | _money(most.within("amount"), filters, least=1)


def _usage(tx: Tx, level: Params) -> dict[str, Any]:
    filters = _filters(tx, level)
    meter = meter_of(tx, level.required_text("meter"))
    if meter.formula not in ("sum", "count") or meter.event_time_window is not None:
        raise MeterNotSummed(f"Meter {meter.id} does not sum its events.", param=level.name_of("meter"))
    return filters.fields | {
        "currency": "",
        "threshold_minor": 0,
        "meter": meter.id,
        "event_name": meter.event_name,
        "counts_events": meter.formula == "count",
        "threshold_units": level.required_integer("gte", least=1),
        "recurrence": level.required_choice("recurrence", RECURRENCES),
    }


def _burn_rate(tx: Tx, level: Params) -> dict[str, Any]:
    filters, most = _filters(tx, level), level.within("gte")
    most.choice("type", ("amount",))
    per = level.required_choice("per", RATES)
    return filters.fields | {"per": per} | _money(most.within("amount"), filters, least=1)


def _run_out(tx: Tx, level: Params) -> dict[str, Any]:
    lookback_days = level.integer("lookback_days", least=1, most=LOOKBACK_DAYS_MAX) or LOOKBACK_DAYS
    return _filters(tx, level).fields | {
        "currency": "",
        "threshold_minor": 0,
        "days": level.within("lte").required_integer("days", least=1, most=RUN_OUT_DAYS_MAX),
        "lookback_days": lookback_days,
    }


_READERS: Mapping[AlertType, Callable[[Tx, Params], dict[str, Any]]] = {
    "credit_balance_threshold": _credit,
    "spend_threshold": _spend,
    "usage_threshold": _usage,
    "burn_rate": _burn_rate,
    "credit_run_out": _run_out,
}


def alert_fields(tx: Tx, params: Params, kind: AlertType) -> dict[str, Any]:
    """Return the fields of `Alert` that the terms of its type give."""
    return {"alert_type": kind, **_READERS[kind](tx, params.within(kind))}


def same_meter(known: Alert, fields: Mapping[str, Any]) -> bool:
    """Return whether a known alert watches the same meter for the same customer, or for everybody as well."""
    return (known.meter, known.customer) == (fields.get("meter"), fields["customer"])
