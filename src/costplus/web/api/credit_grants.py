"""`/v1/billing/credit_grants`: credit given to customers, which their usage burns.

Rule 1: the customer's balance is locked before a grant is read to be changed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from costplus.billing.clock import customer_of
from costplus.billing.credit import give
from costplus.billing.notify import cross
from costplus.billing.store import Tx
from costplus.core.errors import InvalidRequest
from costplus.core.ids import CustomerId, GrantId, new_id
from costplus.core.money import checked_nano, decimal_text, nano_per_minor
from costplus.ledger.balance import Crossing
from costplus.ledger.grant import Grant, NoSuchGrant
from costplus.ledger.post import expire_grant, void_grant
from costplus.web.api.credit_scope import scope_of
from costplus.web.api.custom_pricing_units import unit_of
from costplus.web.call import Call, Listing, customer_in_params, get, post
from costplus.web.listing import NoSuchCursor, listing
from costplus.web.params import Params

PRIORITY_DEFAULT, PRIORITY_MAX = 50, 100


class CurrencyMismatch(InvalidRequest):
    """The amount is not in the customer's currency."""

    code = "currency_mismatch"
    remedy = "Use the customer's currency."


class GrantEnded(InvalidRequest):
    """The grant was voided or has expired."""

    code = "credit_grant_ended"
    remedy = "Create a new grant instead."


class ExpiryInvalid(InvalidRequest):
    """The grant would expire before it could be used."""

    code = "credit_grant_expiry_invalid"
    remedy = "Give an expires_at in the future and after effective_at; to end a grant now, POST …/expire."


class PricingUnitInactive(InvalidRequest):
    """The custom pricing unit is no longer given."""

    code = "custom_pricing_unit_inactive"
    remedy = "Activate it with POST /v1/token_billing/custom_pricing_units/{id}, or use another one."


@dataclass(frozen=True, slots=True)
class Amount:
    """What is given: minor units and nanos, and the custom pricing units that they are worth, if any."""

    minor: int
    nano: int
    unit: str = ""
    units: str = ""


def _amount(tx: Tx, params: Params, currency: str, *, at: datetime) -> Amount:
    level = params.within("amount")
    if level.required_choice("type", ("monetary", "custom_pricing_unit")) == "custom_pricing_unit":
        return _in_units(tx, level.within("custom_pricing_unit"), currency, at=at)
    money = level.within("monetary")
    named = money.required_text("currency", longest=3).lower()
    value = money.required_integer("value", least=1)
    if named != currency:
        raise CurrencyMismatch(
            f"The amount is in {named}, the customer's currency is {currency}.",
            param="amount[monetary][currency]",
        )
    return Amount(value, checked_nano(value * nano_per_minor(currency)))


def _in_units(tx: Tx, level: Params, currency: str, *, at: datetime) -> Amount:
    """Return what custom pricing units are worth now."""
    name = level.name_of("id")
    unit = unit_of(tx, level.required_text("id"), param=name)
    if not unit.active:
        raise PricingUnitInactive(f"Custom pricing unit {unit.id} is inactive.", param=name)
    value = level.decimal("value")
    if value is None:
        raise level.missing("value")
    nano = unit.worth_nano(value, currency=currency, at=at)
    return Amount(nano // nano_per_minor(currency), nano, unit.id, decimal_text(value))


def _check_expiry(expires_at: datetime | None, *, effective_at: datetime, present: datetime) -> None:
    if expires_at is not None and expires_at <= max(effective_at, present):
        raise ExpiryInvalid(f"The grant cannot expire at {expires_at.isoformat()}.", param="expires_at")


def create(tx: Tx, call: Call) -> Grant:
    """Give credit; usage that is already owed is paid from it at once."""
    params = call.params
    customer = customer_of(tx, params.required_text("customer"))
    at = call.present(tx, customer.id)
    amount = _amount(tx, params, customer.currency, at=at)
    scope = scope_of(tx, call, params.within("applicability_config").within("scope"))
    effective_at = params.time("effective_at") or at
    expires_at = params.time("expires_at")
    _check_expiry(expires_at, effective_at=effective_at, present=at)
    priority = params.integer("priority", most=PRIORITY_MAX)
    grant = Grant(
        id=GrantId(new_id("credgr", at=at)),
        customer=CustomerId(customer.id),
        created=at,
        updated=at,
        amount_nano=amount.nano,
        remaining_nano=amount.nano,
        minor_amount=amount.minor,
        unit=amount.unit,
        unit_amount=amount.units,
        scope=scope,
        currency=customer.currency,
        effective_at=effective_at,
        expires_at=expires_at,
        category=params.choice("category", ("paid", "promotional")) or "paid",
        priority=PRIORITY_DEFAULT if priority is None else priority,
        name=params.text("name", longest=100) or "",
        metadata=params.metadata(),
    )
    crossing = give(tx, grant, at=at)
    call.announce(tx, "billing.credit_grant.created", grant, at=at)
    cross(tx, crossing, currency=grant.currency, at=at)
    return _grant_of(tx, grant.id)


def _grant_of(tx: Tx, id: str) -> Grant:
    grant = tx.grant(id)
    if grant is None:
        raise NoSuchGrant(f"No such credit grant: '{id}'", param="id")
    return grant


def _for_update(tx: Tx, call: Call) -> tuple[Grant, datetime]:
    """Return the grant, its customer's balance locked, and the customer's present."""
    id = call.path["id"]
    tx.balance_for_update(_grant_of(tx, id).customer)
    grant = _grant_of(tx, id)
    if grant.voided_at is not None or grant.expired_at is not None:
        how = "voided" if grant.voided_at is not None else "expired"
        raise GrantEnded(f"Credit grant {grant.id} is {how}.", param="id")
    return grant, call.present(tx, grant.customer)


def retrieve(tx: Tx, call: Call) -> Grant:
    """Return a grant."""
    return _grant_of(tx, call.path["id"])


def update(tx: Tx, call: Call) -> Grant:
    """Change a grant's metadata or expiry; everything else about it is settled."""
    grant, at = _for_update(tx, call)
    params = call.params
    if "expires_at" in params:
        expires_at = params.time("expires_at")
        _check_expiry(expires_at, effective_at=grant.effective_at, present=at)
        grant = replace(grant, expires_at=expires_at)
    grant = replace(grant, metadata=params.metadata(grant.metadata), updated=at)
    tx.save_grant(grant)
    call.announce(tx, "billing.credit_grant.updated", grant, at=at)
    return grant


def _ended(tx: Tx, call: Call, grant: Grant, crossing: Crossing, *, at: datetime) -> Grant:
    grant = _grant_of(tx, grant.id)
    call.announce(tx, "billing.credit_grant.updated", grant, at=at)
    cross(tx, crossing, currency=grant.currency, at=at)
    return grant


def void(tx: Tx, call: Call) -> Grant:
    """Take back a grant that nothing was paid from."""
    grant, at = _for_update(tx, call)
    return _ended(tx, call, grant, void_grant(tx, grant, at=at), at=at)


def expire(tx: Tx, call: Call) -> Grant:
    """End a grant now; what remains of it is lost to the customer."""
    grant, at = _for_update(tx, call)
    return _ended(tx, call, grant, expire_grant(tx, grant, at=at), at=at)


def index(tx: Tx, call: Call) -> Listing:
    """List grants, of one customer or of all, newest first."""
    customer = call.params.text("customer")
    if customer:
        customer_of(tx, customer)
    for name in ("starting_after", "ending_before"):
        cursor = call.params.text(name)
        if cursor and tx.grant(cursor) is None:
            raise NoSuchCursor(f"No such credit grant: '{cursor}'", param=name)

    def fetch(*, limit: int, older_than: str | None, newer_than: str | None) -> Sequence[Grant]:
        return tx.grants_page(customer=customer, limit=limit, older_than=older_than, newer_than=newer_than)

    return listing(call.params, fetch)


def _customer(tx: Tx, call: Call) -> Collection[str]:
    """Return whose grant the path names."""
    return [_grant_of(tx, call.path["id"]).customer]


ENDPOINTS = (
    post("/v1/billing/credit_grants", create, fresh=True, customers=customer_in_params),
    get("/v1/billing/credit_grants", index),
    get("/v1/billing/credit_grants/{id}", retrieve),
    post("/v1/billing/credit_grants/{id}", update, customers=_customer),
    post("/v1/billing/credit_grants/{id}/void", void, fresh=True, customers=_customer),
    post("/v1/billing/credit_grants/{id}/expire", expire, fresh=True, customers=_customer),
)
