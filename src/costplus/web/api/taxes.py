"""`/v1/tax_rates`, and customers' tax ids at `/v1/customers/{id}/tax_ids`."""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.clock import customer_of
from costplus.billing.levy import tax_rate_of
from costplus.billing.store import Tx
from costplus.billing.tax import InvalidTaxRate, TaxId, TaxRate, check_percentage
from costplus.core.errors import NotFound
from costplus.core.ids import new_id
from costplus.core.money import decimal_text
from costplus.web.call import Call, Listing, delete, get, post
from costplus.web.listing import records
from costplus.web.objects.customer import deleted_object

PATH = "/v1/tax_rates"
IDS = "/v1/customers/{id}/tax_ids"
_TEXTS = ("jurisdiction", "description", "tax_type")


class NoSuchTaxId(NotFound):
    """The tax id does not exist."""

    code = "resource_missing"


def _changed(call: Call, rate: TaxRate) -> TaxRate:
    """Return the rate with what may change of it."""
    params = call.params
    changes: dict[str, object] = {name: params.text(name) or "" for name in _TEXTS if name in params}
    for name in ("country", "state"):
        if name in params:
            changes[name] = (params.text(name, longest=3) or "").upper()
    if (title := params.text("display_name", longest=50)) is not None:
        changes["display_name"] = title
    if (active := params.flag("active")) is not None:
        changes["active"] = active
    for name in ("effective_at", "ends_at"):
        if name in params:
            changes[name] = params.time(name)
    rate = replace(rate, **changes, metadata=params.metadata(rate.metadata))  # type: ignore[arg-type]  # Its own fields.
    if rate.effective_at and rate.ends_at and rate.ends_at <= rate.effective_at:
        raise InvalidTaxRate("The tax rate ends before it begins.", param="ends_at")
    return rate


def create(tx: Tx, call: Call) -> TaxRate:
    """Create a tax rate; its percentage never changes."""
    params = call.params
    percentage = params.decimal("percentage")
    if percentage is None:
        raise params.missing("percentage")
    inclusive = params.flag("inclusive")
    if inclusive is None:
        raise params.missing("inclusive")
    blank = TaxRate(
        id=new_id("txr", at=call.at),
        created=call.at,
        display_name=params.required_text("display_name", longest=50),
        percentage=check_percentage(decimal_text(percentage)),
        inclusive=inclusive,
    )
    rate = _changed(call, blank)
    tx.save(rate)
    call.announce(tx, "tax_rate.created", rate, at=call.at)
    return rate


def retrieve(tx: Tx, call: Call) -> TaxRate:
    """Return a tax rate."""
    return tax_rate_of(tx, call.path["id"], param="id")


def update(tx: Tx, call: Call) -> TaxRate:
    """Change what a rate is called, where it applies and from when to when."""
    rate = _changed(call, tax_rate_of(tx, call.path["id"], param="id"))
    tx.save(rate)
    call.announce(tx, "tax_rate.updated", rate, at=call.at)
    return rate


def index(tx: Tx, call: Call) -> Listing:
    """List tax rates, newest first."""
    active, inclusive = call.params.flag("active"), call.params.flag("inclusive")
    return records(
        tx,
        call,
        TaxRate,
        keep=lambda rate: active in (None, rate.active) and inclusive in (None, rate.inclusive),
    )


def _tax_id_of(tx: Tx, call: Call) -> TaxId:
    customer = customer_of(tx, call.path["id"], param="id")
    found = tx.find(TaxId, call.path["tax_id"])
    if found is None or found.customer != customer.id:
        raise NoSuchTaxId(f"No such tax id: '{call.path['tax_id']}'", param="tax_id")
    return found


def create_tax_id(tx: Tx, call: Call) -> TaxId:
    """Keep a customer's tax id; it is printed on invoices and not checked."""
    customer = customer_of(tx, call.path["id"], param="id")
    kind = call.params.required_text("type", longest=20)
    at = call.present(tx, customer.id)
    tax_id = TaxId(
        id=new_id("txi", at=at),
        created=at,
        customer=customer.id,
        type=kind,
        value=call.params.required_text("value", longest=100),
        country="" if kind.startswith("eu_") else kind[:2].upper(),
    )
    tx.save(tax_id)
    call.announce(tx, "customer.tax_id.created", tax_id, at=at)
    return tax_id


def retrieve_tax_id(tx: Tx, call: Call) -> TaxId:
    """Return one of a customer's tax ids."""
    return _tax_id_of(tx, call)


def remove_tax_id(tx: Tx, call: Call) -> object:
    """Delete a customer's tax id; invoices keep what they say."""
    tax_id = _tax_id_of(tx, call)
    tx.remove(TaxId, tax_id.id)
    call.announce(tx, "customer.tax_id.deleted", tax_id, at=call.present(tx, tax_id.customer))
    return deleted_object("tax_id", tax_id.id)


def tax_ids(tx: Tx, call: Call) -> Listing:
    """List a customer's tax ids, newest first."""
    customer = customer_of(tx, call.path["id"], param="id")
    return records(tx, call, TaxId, parent=customer.id)


ENDPOINTS = (
    post(PATH, create),
    get(PATH, index),
    get(f"{PATH}/{{id}}", retrieve),
    post(f"{PATH}/{{id}}", update),
    post(IDS, create_tax_id),
    get(IDS, tax_ids),
    get(f"{IDS}/{{tax_id}}", retrieve_tax_id),
    delete(f"{IDS}/{{tax_id}}", remove_tax_id),
)
