"""`/v1/billing/credit_balance_summary` and `/v1/billing/credit_balance_transactions`.

Rule 1: available is what calls in flight have not reserved one by one. What a gateway process sets aside
for calls to come (a lease) is still the customer's, and counts as available.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from costplus.billing.clock import customer_of
from costplus.billing.invoice import Invoice
from costplus.billing.movement import Movement, grant_of_movement, movements
from costplus.billing.store import Tx
from costplus.catalog.load import every
from costplus.core.errors import NotFound
from costplus.ledger.grant import Grant, NoSuchGrant
from costplus.ledger.transaction import EVERY_ONE
from costplus.web.api.credit_scope import scope_of
from costplus.web.call import Call, Listing, get
from costplus.web.listing import in_memory
from costplus.web.objects.credit import CreditSummary
from costplus.web.objects.invoice_credit import AppliedCredit, applied_credit, names_of

FILTERS = ("applicability_scope", "credit_grant")


class NoSuchMovement(NotFound):
    """The credit balance transaction does not exist."""

    code = "resource_missing"


def summary(tx: Tx, call: Call) -> CreditSummary:
    """Return a customer's credit, or what one of its grants still holds."""
    params = call.params
    customer = customer_of(tx, params.required_text("customer"))
    at = call.present(tx, customer.id)
    chosen = params.within("filter")
    kind = chosen.choice("type", FILTERS) or FILTERS[0]
    grants: Sequence[Grant] = tx.live_grants(customer.id)
    if kind == "credit_grant":
        id = chosen.required_text("credit_grant")
        grant = tx.grant(id)
        if grant is None or grant.customer != customer.id:
            raise NoSuchGrant(f"No such credit grant: '{id}'", param="filter[credit_grant]")
        grants, held_nano = [grant], 0
    else:
        scope = scope_of(tx, call, chosen.within("applicability_scope"), at_least_one=False)
        grants = [grant for grant in grants if scope.is_all or grant.scope == scope]
        held_nano = sum(
            hold.amount_nano for hold in tx.placed_holds(customer=customer.id) if hold.kind == "request"
        )
    burning = [grant for grant in grants if grant.is_burnable(at)]
    credit_nano = sum(grant.remaining_nano for grant in burning)
    return CreditSummary(
        customer=customer.id,
        currency=customer.currency,
        # What has expired is the ledger's until that is booked; what is not yet effective is nobody's.
        ledger_nano=sum(grant.remaining_nano for grant in grants if grant.effective_at <= at),
        available_nano=credit_nano - held_nano,
        units=_units(grants, burning),
    )


def _units(grants: Sequence[Grant], burning: Sequence[Grant]) -> dict[str, tuple[Fraction, Fraction]]:
    """Return what grants in custom pricing units hold, by unit: all of it, and what burns."""
    sums: dict[str, tuple[Fraction, Fraction]] = {}
    for grant in grants:
        if grant.unit:
            held = grant.units(grant.remaining_nano)
            all_of_it, free = sums.get(grant.unit, (Fraction(0), Fraction(0)))
            sums[grant.unit] = (all_of_it + held, free + (held if grant in burning else 0))
    return sums


def _movements(tx: Tx, customer: str) -> list[Movement]:
    invoices = list(every(tx, Invoice, parent=customer))
    return movements(tx.transactions_of(customer, limit=EVERY_ONE), tx.grants_of(customer), invoices)


def index(tx: Tx, call: Call) -> Listing:
    """List what moved a customer's credit (or one grant's), newest first."""
    customer = customer_of(tx, call.params.required_text("customer"))
    grant = call.params.text("credit_grant")
    found = _movements(tx, customer.id)
    return in_memory(call.params, [entry for entry in found if grant in (None, entry.grant)])


def retrieve(tx: Tx, call: Call) -> Movement | AppliedCredit:
    """Return one movement of credit, or what a grant paid of an invoice, which the invoice names."""
    id = call.path["id"]
    named, paid_by = names_of(id)
    invoice = tx.find(Invoice, named) if named else None
    applied = applied_credit(invoice, paid_by) if invoice else None
    if applied is not None:
        return applied
    grant = tx.grant(grant_of_movement(id))
    found = _movements(tx, grant.customer) if grant else []
    for entry in found:
        if entry.id == id:
            return entry
    raise NoSuchMovement(f"No such credit balance transaction: '{id}'", param="id")


ENDPOINTS = (
    get("/v1/billing/credit_balance_summary", summary, fresh=True),
    get("/v1/billing/credit_balance_transactions", index, fresh=True),
    get("/v1/billing/credit_balance_transactions/{id}", retrieve, fresh=True),
)
