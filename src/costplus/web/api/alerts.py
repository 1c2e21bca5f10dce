"""`/v1/billing/alerts`: thresholds of credit, for one customer or for all."""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.alert import Alert
from costplus.billing.clock import customer_of
from costplus.billing.store import Tx
from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.ids import new_id
from costplus.web.call import Call, Listing, get, post
from costplus.web.errors import NotSupported
from costplus.web.listing import records

ALERTS_MAX = 1000  # So many are looked at when credit moves.
TYPES = ("credit_balance_threshold", "usage_threshold", "spend_threshold")


class NoSuchAlert(NotFound):
    """The alert does not exist."""

    code = "resource_missing"


class AlertArchived(InvalidRequest):
    """An archived alert stays archived."""

    code = "alert_archived"
    remedy = "Create a new alert instead."


class TooManyAlerts(InvalidRequest):
    """The account has the most alerts that are looked at."""

    code = "alerts_limit"
    remedy = f"At most {ALERTS_MAX} alerts: use one without a customer filter, which is for all of them."


def _alert_of(tx: Tx, id: str) -> Alert:
    alert = tx.find(Alert, id)
    if alert is None:
        raise NoSuchAlert(f"No such alert: '{id}'", param="id")
    return alert


def create(tx: Tx, call: Call) -> Alert:
    """Create an alert on a credit balance; without a customer filter it watches every customer."""
    params = call.params
    kind = params.required_choice("alert_type", TYPES)
    if kind != "credit_balance_threshold":
        raise NotSupported(
            f"Alerts of type {kind} are not available yet.",
            param="alert_type",
            remedy="Use alert_type=credit_balance_threshold.",
        )
    level = params.within("credit_balance_threshold")
    least = level.within("lte")
    least.required_choice("balance_type", ("monetary",))
    money = least.within("monetary")
    customers = []
    for entry in level.each("filters"):
        entry.required_choice("type", ("customer",))
        customers.append(customer_of(tx, entry.required_text("customer"), param=entry.name_of("customer")))
    if len(customers) > 1:
        raise NotSupported(
            "An alert watches one customer or all of them.",
            param="credit_balance_threshold[filters]",
            remedy="Create one alert per customer.",
        )
    if len(tx.page(Alert, limit=ALERTS_MAX)) >= ALERTS_MAX:
        raise TooManyAlerts(f"The account has {ALERTS_MAX} alerts.")
    alert = Alert(
        id=new_id("alrt", at=call.at),
        created=call.at,
        title=params.required_text("title", longest=256),
        threshold_minor=money.required_integer("value"),
        currency=money.required_choice("currency", ("usd",)),
        customer=customers[0].id if customers else "",
    )
    tx.save(alert)
    return alert


def retrieve(tx: Tx, call: Call) -> Alert:
    """Return an alert."""
    return _alert_of(tx, call.path["id"])


def _usable(tx: Tx, call: Call) -> Alert:
    alert = _alert_of(tx, call.path["id"])
    if alert.status == "archived":
        raise AlertArchived(f"Alert {alert.id} is archived.", param="id")
    return alert


def activate(tx: Tx, call: Call) -> Alert:
    """Watch again."""
    alert = replace(_usable(tx, call), status="active")
    tx.save(alert)
    return alert


def deactivate(tx: Tx, call: Call) -> Alert:
    """Stop watching for the time being."""
    alert = replace(_usable(tx, call), status="inactive")
    tx.save(alert)
    return alert


def archive(tx: Tx, call: Call) -> Alert:
    """Stop watching for good."""
    alert = replace(_alert_of(tx, call.path["id"]), status="archived")
    tx.save(alert)
    return alert


def index(tx: Tx, call: Call) -> Listing:
    """List alerts, newest first."""
    call.params.choice("alert_type", TYPES[:1])
    customer = call.params.text("customer")
    return records(tx, call, Alert, keep=lambda alert: customer in (None, alert.customer))


ENDPOINTS = (
    post("/v1/billing/alerts", create),
    get("/v1/billing/alerts", index),
    get("/v1/billing/alerts/{id}", retrieve),
    post("/v1/billing/alerts/{id}/activate", activate),
    post("/v1/billing/alerts/{id}/deactivate", deactivate),
    post("/v1/billing/alerts/{id}/archive", archive),
)
