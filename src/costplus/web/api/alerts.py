"""`/v1/billing/alerts`: thresholds of credit, spend, usage and their rates, for one customer or for all."""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.alert import ALERT_TYPES, Alert
from costplus.billing.store import Tx
from costplus.billing.watched import (
    OWN_ALERTS_MAX,
    SHARED_ALERTS_MAX,
    own_alerts,
    save_alert,
    shared_alerts,
)
from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.ids import new_id
from costplus.web.api.alert_terms import alert_fields, same_meter
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records

ALERTS_MAX = SHARED_ALERTS_MAX
PER_METER_MAX = 25  # Stripe's limit.


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
    remedy = (
        f"At most {ALERTS_MAX} alerts for everybody and {OWN_ALERTS_MAX} per customer: archive one, "
        "or use one without a customer filter, which is for all of them."
    )


def _alert_of(tx: Tx, id: str) -> Alert:
    alert = tx.find(Alert, id)
    if alert is None:
        raise NoSuchAlert(f"No such alert: '{id}'", param="id")
    return alert


def create(tx: Tx, call: Call) -> Alert:
    """Create an alert on credit, spend, usage or their rates; without a customer it watches everybody."""
    params = call.params
    kind = params.required_choice("alert_type", ALERT_TYPES)
    fields = alert_fields(tx, params, kind)
    customer = fields["customer"]
    known = own_alerts(tx, customer) if customer else shared_alerts(tx)
    most = OWN_ALERTS_MAX if customer else ALERTS_MAX
    if len(known) >= most:
        raise TooManyAlerts(f"There are {most} alerts of {customer or 'the account'} already.")
    if kind == "usage_threshold" and sum(same_meter(alert, fields) for alert in known) >= PER_METER_MAX:
        raise TooManyAlerts(
            f"Meter {fields['meter']} has {PER_METER_MAX} alerts for {customer or 'everybody'} already.",
            param="usage_threshold[meter]",
            remedy=f"At most {PER_METER_MAX} per meter and customer: archive one first.",
        )
    alert = Alert(
        id=new_id("alrt", at=call.at),
        created=call.at,
        title=params.required_text("title", longest=256),
        since=call.present(tx, customer) if customer else call.at,
        **fields,
    )
    return save_alert(tx, alert)


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
    alert = _usable(tx, call)
    if alert.status == "active":
        return alert
    since = call.present(tx, alert.customer) if alert.customer else call.at
    if alert.alert_type == "usage_threshold":
        since = alert.since or alert.created  # It goes on counting where it stopped.
    return save_alert(tx, replace(alert, status="active", since=since))


def deactivate(tx: Tx, call: Call) -> Alert:
    """Stop watching for the time being."""
    return save_alert(tx, replace(_usable(tx, call), status="inactive"))


def archive(tx: Tx, call: Call) -> Alert:
    """Stop watching for good."""
    return save_alert(tx, replace(_alert_of(tx, call.path["id"]), status="archived"))


def index(tx: Tx, call: Call) -> Listing:
    """List alerts that are not archived, newest first."""
    kind = call.params.choice("alert_type", ALERT_TYPES)
    customer, meter = call.params.text("customer"), call.params.text("meter")

    def keep(alert: Alert) -> bool:
        wanted = kind in (None, alert.alert_type) and meter in (None, alert.meter)
        return wanted and alert.status != "archived" and customer in (None, alert.customer)

    return records(tx, call, Alert, keep=keep)


ENDPOINTS = (
    post("/v1/billing/alerts", create),
    get("/v1/billing/alerts", index),
    get("/v1/billing/alerts/{id}", retrieve),
    post("/v1/billing/alerts/{id}/activate", activate),
    post("/v1/billing/alerts/{id}/deactivate", deactivate),
    post("/v1/billing/alerts/{id}/archive", archive),
)
