"""Buy credit: order a top-up, and grant what was paid for it when its money is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from costplus.billing.credit_pack import CreditPack, CreditPackRetired
from costplus.billing.customer import Customer
from costplus.billing.demand import open_payment
from costplus.billing.notify import announce, cross
from costplus.billing.payments.method import PaymentMethod
from costplus.billing.payments.payment import Payment
from costplus.billing.store import Tx
from costplus.billing.top_up import Receipt, TopUp, TopUpInvalid
from costplus.core.ids import CustomerId, GrantId, new_id
from costplus.core.money import nano_per_minor
from costplus.ledger.grant import Grant
from costplus.ledger.post import grant_credit


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What is to be bought: an amount, or a pack at its price."""

    amount_minor: int = 0
    pack: CreditPack | None = None
    origin: Literal["api", "auto_recharge"] = "api"
    asked_by: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def order_top_up(
    tx: Tx, customer: Customer, purchase: Purchase, *, method: PaymentMethod, id: str = "", at: datetime
) -> TopUp:
    """Keep a top-up with its payment, which is due at once; one that has the id already is returned."""
    tx.balance_for_update(customer.id)
    if id and (known := tx.find(TopUp, id)) is not None:
        return known
    pack = purchase.pack
    if pack is not None and not pack.is_active:
        raise CreditPackRetired(f"Credit pack {pack.id} is not sold any more.", param="credit_pack")
    if pack is not None and pack.currency != customer.currency:
        raise TopUpInvalid(
            f"Credit pack {pack.id} is in {pack.currency}, the customer's currency is {customer.currency}.",
            param="credit_pack",
        )
    amount_minor = pack.price_minor if pack else purchase.amount_minor
    if amount_minor <= 0:
        raise TopUpInvalid("A top-up is of at least one minor unit.", param="amount")
    payment = Payment(
        id=new_id("pay", at=at),
        created=at,
        customer=customer.id,
        provider=method.provider,
        method=method.id,
        token=method.token,
        currency=customer.currency,
        amount_minor=amount_minor,
        purpose="top_up",
        subject=id or new_id("topup", at=at),
        due_at=at,
        asked_by=purchase.asked_by,
        is_retried=False,
        test_clock=customer.test_clock,
    )
    top_up = TopUp(
        id=payment.subject,
        created=at,
        customer=customer.id,
        currency=customer.currency,
        amount_minor=amount_minor,
        payment=payment.id,
        promotional_minor=pack.promotional_minor if pack else 0,
        credit_pack=pack.id if pack else "",
        pack_name=pack.name if pack else "",
        valid_days=pack.valid_days if pack else None,
        promotional_valid_days=(pack.bonus_valid_days or pack.valid_days) if pack else None,
        origin=purchase.origin,
        metadata=purchase.metadata,
    )
    tx.save(top_up)
    open_payment(tx, payment, at=at)
    return top_up


def credit_received(tx: Tx, top_up: TopUp, payment: Payment, *, amount_minor: int, at: datetime) -> TopUp:
    """Grant what came in for a top-up; once it is paid in full, the promotional part and the receipt too."""
    assert 0 < amount_minor <= top_up.amount_minor - top_up.granted_minor
    number = len(top_up.grants) + 1
    grant = _grant(
        tx,
        top_up,
        f"{top_up.id}_{number}",
        minor=amount_minor,
        category="paid",
        days=top_up.valid_days,
        at=at,
    )
    top_up = replace(
        top_up, granted_minor=top_up.granted_minor + amount_minor, grants=(*top_up.grants, grant)
    )
    if top_up.granted_minor == top_up.amount_minor:
        top_up = complete(tx, top_up, payment, at=at)
    tx.save(top_up)
    return top_up


def complete(tx: Tx, top_up: TopUp, payment: Payment, *, at: datetime) -> TopUp:
    """Return a top-up as it ends: with its promotional credit, where it was paid in full, and its receipt."""
    bonus = ""
    if top_up.promotional_minor and top_up.granted_minor == top_up.amount_minor:
        bonus = _grant(
            tx,
            top_up,
            f"{top_up.id}_bonus",
            minor=top_up.promotional_minor,
            category="promotional",
            days=top_up.promotional_valid_days,
            at=at,
        )
    method = tx.find(PaymentMethod, payment.method)
    receipt = Receipt(
        id="rcpt_" + top_up.id.partition("_")[2],
        created=at,
        number=f"RC-{tx.next_number('receipt'):06d}",
        customer=top_up.customer,
        currency=top_up.currency,
        amount_minor=top_up.granted_minor,
        promotional_minor=top_up.promotional_minor if bonus else 0,
        description=top_up.pack_name or "Prepaid credit",
        top_up=top_up.id,
        payment=payment.id,
        method=method.label if method else payment.provider,
        paid_at=at,
    )
    tx.save(receipt)
    top_up = replace(top_up, status="succeeded", promotional_grant=bonus, receipt=receipt.id, completed_at=at)
    tx.save(top_up)
    announce(tx, "top_up.succeeded", top_up, at=at)
    return top_up


def _grant(
    tx: Tx,
    top_up: TopUp,
    key: str,
    *,
    minor: int,
    category: Literal["paid", "promotional"],
    days: int | None,
    at: datetime,
) -> str:
    """Grant credit under an id that follows from the key, so that it can be granted once only."""
    nano = minor * nano_per_minor(top_up.currency)
    grant = Grant(
        id=GrantId("credgr_" + key.partition("_")[2]),
        customer=CustomerId(top_up.customer),
        created=at,
        updated=at,
        amount_nano=nano,
        remaining_nano=nano,
        minor_amount=minor,
        currency=top_up.currency,
        effective_at=at,
        expires_at=None if days is None else at + timedelta(days=days),
        category=category,
        name=top_up.pack_name or ("Auto-recharge" if top_up.origin == "auto_recharge" else "Top-up"),
        metadata={**top_up.metadata, "top_up": top_up.id},
        source="top_up",
    )
    crossing = grant_credit(tx, grant, at=at)
    announce(tx, "billing.credit_grant.created", grant, at=at)
    cross(tx, crossing, currency=grant.currency, at=at)
    return grant.id
