"""`/v1/token_billing/top_ups`: credit that customers buy, receipts for it, and rules that buy it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from costplus.billing.auto_recharge import AutoRecharge, AutoRechargeInvalid, NoAutoRecharge
from costplus.billing.buy import Purchase, order_top_up
from costplus.billing.clock import customer_of
from costplus.billing.credit_pack import price_minor
from costplus.billing.customer import Customer
from costplus.billing.demand import method_of
from costplus.billing.recharge import recharge
from costplus.billing.store import Tx
from costplus.billing.top_up import NoSuchTopUp, Receipt, TopUp, TopUpInvalid
from costplus.core.money import checked_nano, nano_per_minor
from costplus.web.api.credit_packs import pack_of
from costplus.web.api.invoice_payments import declined_error
from costplus.web.api.payments import made_id
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records

SECONDS_MAX = 366 * 86_400
DECLINES_MAX = 20
STATUSES = ("pending", "succeeded", "failed", "canceled")


def _purchase(tx: Tx, call: Call, customer: Customer) -> Purchase:
    params = call.params
    amount, credits = params.integer("amount", least=1), params.decimal("credits")
    pack = params.text("credit_pack")
    if (amount is not None) + (credits is not None) + (pack is not None) != 1:
        raise TopUpInvalid("Exactly one of amount, credits and credit_pack is needed.", param="amount")
    metadata = params.metadata()
    if pack is not None:
        return Purchase(pack=pack_of(tx, pack, param="credit_pack"), metadata=metadata)
    if credits is not None:
        if credits <= 0:
            raise TopUpInvalid("A top-up is of more than nothing.", param="credits")
        amount = price_minor(credits, unit_price=1, currency=customer.currency)
    return Purchase(amount_minor=amount or 0, metadata=metadata)


def create(tx: Tx, call: Call) -> TopUp:
    """Buy credit: an amount, credits or a pack, charged to a payment method; owed usage is paid first."""
    params = call.params
    customer = customer_of(tx, params.required_text("customer"))
    currency = params.text("currency", longest=3)
    if currency is not None and currency.lower() != customer.currency:
        raise TopUpInvalid(
            f"The amount is in {currency}, the customer's currency is {customer.currency}.", param="currency"
        )
    purchase = _purchase(tx, call, customer)
    method = method_of(tx, customer, params.text("payment_method") or "")
    at = call.present(tx, customer.id)
    return order_top_up(tx, customer, purchase, method=method, id=made_id("topup", call), at=at)


async def _paid(call: Call, begun: object) -> TopUp:
    """Ask for the money, and answer with the top-up as it is then."""
    assert isinstance(begun, TopUp)
    payment = await call.context.collector.run(begun.payment, customer=begun.customer)
    if (error := declined_error(payment)) is not None:
        raise error
    return await call.context.store.read(partial(_top_up_of, id=begun.id))


def _top_up_of(tx: Tx, *, id: str) -> TopUp:
    top_up = tx.find(TopUp, id)
    if top_up is None:
        raise NoSuchTopUp(f"No such top-up: '{id}'", param="id")
    return top_up


def retrieve(tx: Tx, call: Call) -> TopUp:
    """Return a top-up."""
    return _top_up_of(tx, id=call.path["id"])


def index(tx: Tx, call: Call) -> Listing:
    """List top-ups, newest first."""
    customer, status = call.params.text("customer"), call.params.choice("status", STATUSES)
    return records(tx, call, TopUp, parent=customer, keep=lambda each: status in (None, each.status))


def receipt(tx: Tx, call: Call) -> Receipt:
    """Return the receipt of a top-up that was paid."""
    top_up = _top_up_of(tx, id=call.path["id"])
    found = tx.find(Receipt, top_up.receipt) if top_up.receipt else None
    if found is None:
        raise NoSuchTopUp(f"Top-up {top_up.id} is {top_up.status}: it has no receipt.", param="id")
    return found


def receipts(tx: Tx, call: Call) -> Listing:
    """List receipts, newest first."""
    return records(tx, call, Receipt, parent=call.params.text("customer"))


def retrieve_rule(tx: Tx, call: Call) -> AutoRecharge:
    """Return a customer's rule to buy credit by itself."""
    customer = customer_of(tx, call.path["id"], param="id")
    rule = tx.find(AutoRecharge, customer.id)
    if rule is None:
        raise NoAutoRecharge(f"Customer {customer.id} has no auto-recharge.", param="id")
    return rule


def update_rule(tx: Tx, call: Call) -> AutoRecharge:
    """Set a customer's rule, or turn it off and on; turning it on forgets declines and looks at once."""
    customer, params = customer_of(tx, call.path["id"], param="id"), call.params
    tx.balance_for_update(customer.id)
    at = call.present(tx, customer.id)
    known = tx.find(AutoRecharge, customer.id)
    if known is None:
        threshold = params.required_integer("threshold")
        known = AutoRecharge(
            id=customer.id, created=at, currency=customer.currency, threshold_minor=threshold
        )
    rule = _changed(known, call)
    if rule.is_enabled:
        method_of(tx, customer, rule.payment_method)
    tx.save(rule)
    recharge(tx, customer, at=at)
    return tx.find(AutoRecharge, customer.id) or rule


def _changed(rule: AutoRecharge, call: Call) -> AutoRecharge:
    """Return the rule with what the request changes."""
    params = call.params
    figures: dict[str, Any] = {
        "threshold_minor": params.integer("threshold"),
        "amount_minor": params.integer("amount", least=1),
        "target_minor": params.integer("target", least=1),
        "cool_down_s": params.integer("cool_down_seconds", most=SECONDS_MAX),
        "declines_max": params.integer("declines_max", least=1, most=DECLINES_MAX),
    }
    rule = replace(rule, **{name: value for name, value in figures.items() if value is not None})
    if "amount" in params and "target" in params and rule.amount_minor and rule.target_minor:
        raise AutoRechargeInvalid("amount and target cannot be used together.", param="target")
    if figures["amount_minor"]:
        rule = replace(rule, target_minor=0)
    if figures["target_minor"]:
        rule = replace(rule, amount_minor=0)
    if "monthly_cap" in params:
        rule = replace(rule, monthly_cap_minor=params.integer("monthly_cap"), capped_in="")
    if "payment_method" in params:
        rule = replace(rule, payment_method=params.text("payment_method") or "")
    if not rule.amount_minor and not rule.target_minor:
        raise AutoRechargeInvalid("The rule says neither an amount nor a target.", param="amount")
    if rule.target_minor and rule.target_minor <= rule.threshold_minor:
        raise AutoRechargeInvalid("The target is not above the threshold.", param="target")
    checked_nano(max(rule.amount_minor, rule.target_minor) * nano_per_minor(rule.currency))
    enabled = params.flag("enabled")
    if enabled is True:
        return replace(rule, is_enabled=True, stopped="", declines=0, not_before=None)
    if enabled is False:
        return replace(rule, is_enabled=False, stopped="disabled")
    return rule


PATH = "/v1/token_billing/top_ups"
RULE = "/v1/token_billing/customers/{id}/auto_recharge"
ENDPOINTS = (
    post(PATH, create, fresh=True, finish=_paid),
    get(PATH, index),
    get(f"{PATH}/{{id}}", retrieve),
    get(f"{PATH}/{{id}}/receipt", receipt),
    get("/v1/token_billing/receipts", receipts),
    get(RULE, retrieve_rule),
    post(RULE, update_rule, fresh=True),
)
