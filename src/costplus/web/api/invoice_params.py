"""What endpoints around invoices read alike: amounts, periods, tax rates, the objects that they name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice, NoSuchInvoice
from costplus.billing.invoice_item import InvoiceItem
from costplus.billing.levy import tax_rate_of
from costplus.billing.store import Tx
from costplus.billing.subscription import NoSuchSubscription, Subscription
from costplus.billing.tax import check_mix
from costplus.core.ids import new_id
from costplus.core.money import checked_nano, nano_per_minor
from costplus.core.period import Period
from costplus.web.params import InvalidInteger, InvalidTime, ParametersExclude, Params

AMOUNT_MAX = 10**12


def invoice_of(tx: Tx, id: str, *, param: str = "id") -> Invoice:
    """Return the invoice, or raise `NoSuchInvoice`."""
    invoice = tx.find(Invoice, id)
    if invoice is None:
        raise NoSuchInvoice(f"No such invoice: '{id}'", param=param)
    return invoice


def invoice_for_update(tx: Tx, id: str, *, param: str = "id") -> Invoice:
    """Return the invoice, its customer's balance locked."""
    tx.balance_for_update(invoice_of(tx, id, param=param).customer)
    return invoice_of(tx, id, param=param)


def tax_rates_of(tx: Tx, params: Params, name: str) -> tuple[str, ...]:
    """Return the ids of the tax rates that a parameter lists."""
    ids = params.texts(name)
    check_mix([tax_rate_of(tx, id, param=params.name_of(name)) for id in ids])
    return tuple(ids)


def subscription_named(tx: Tx, params: Params, *, customer: str) -> str:
    """Return the customer's subscription that a request names, or empty."""
    id = params.text("subscription")
    if id is None:
        return ""
    found = tx.find(Subscription, id)
    if found is None or found.customer != customer:
        raise NoSuchSubscription(f"No such subscription: '{id}'", param="subscription")
    return id


def period_of(params: Params, *, at: datetime) -> Period:
    """Return the stretch of time that an item is for; without one, this instant."""
    if "period" not in params:
        return Period(at, at)
    level = params.within("period")
    start, end = level.required_time("start"), level.required_time("end")
    if end < start:
        raise InvalidTime("The period ends before it starts.", param=level.name_of("end"))
    return Period(start, end)


def amount_of(params: Params, *, currency: str) -> tuple[int, int] | None:
    """Return (minor units, quantity) as the amount, or the unit amount and the quantity, say; None: nothing.

    A unit amount with decimals is multiplied exactly and rounded half up once.
    """
    amount = params.integer("amount", least=-AMOUNT_MAX, most=AMOUNT_MAX)
    unit = params.decimal("unit_amount_decimal")
    quantity = params.integer("quantity", least=1, most=10**9) or 1
    if amount is not None and unit is not None:
        raise ParametersExclude(
            "amount and unit_amount_decimal cannot be used together.", param="unit_amount_decimal"
        )
    if unit is not None:
        amount = rounded_half_up(unit * quantity)
    if amount is None:
        return None
    if abs(amount) > AMOUNT_MAX:
        raise InvalidInteger(f"The amount {amount} is too large.", param="unit_amount_decimal")
    checked_nano(amount * nano_per_minor(currency))
    return amount, quantity


def rounded_half_up(exact: Decimal) -> int:
    """Return whole minor units, a half away from zero."""
    sign = -1 if exact < 0 else 1
    numerator, denominator = abs(exact).as_integer_ratio()
    return sign * ((2 * numerator + denominator) // (2 * denominator))


@dataclass(frozen=True, slots=True)
class ItemReader:
    """Reads an item's parameters for a customer at its present."""

    tx: Tx
    customer: Customer
    at: datetime

    def new(self, params: Params, *, invoice: str = "", subscription: str = "") -> InvoiceItem:
        """Return the item that the parameters describe."""
        currency = self.customer.currency
        sums = amount_of(params, currency=currency)
        if sums is None:
            raise params.missing("amount")
        discountable = params.flag("discountable")
        return InvoiceItem(
            id=new_id("ii", at=self.at),
            created=self.at,
            customer=self.customer.id,
            currency=currency,
            description=params.text("description") or "",
            amount_minor=sums[0],
            quantity=sums[1],
            period=period_of(params, at=self.at),
            subscription=subscription,
            invoice=invoice,
            tax_rates=tax_rates_of(self.tx, params, "tax_rates"),
            discountable=discountable is None or discountable,
            metadata=params.metadata(),
        )

    def changed(self, params: Params, item: InvoiceItem) -> dict[str, object]:
        """Return what the parameters change of an item, by field."""
        changes: dict[str, object] = {}
        sums = amount_of(params, currency=item.currency)
        if sums is not None:
            changes |= {"amount_minor": sums[0], "quantity": sums[1]}
        readers: dict[str, Callable[[], object]] = {
            "description": lambda: params.text("description") or "",
            "period": lambda: period_of(params, at=self.at),
            "tax_rates": lambda: tax_rates_of(self.tx, params, "tax_rates"),
            "discountable": lambda: params.flag("discountable") is not False,
        }
        changes |= {name: read() for name, read in readers.items() if name in params}
        return changes | {"metadata": params.metadata(item.metadata)}


def time_range(params: Params, name: str) -> Callable[[datetime | None], bool]:
    """Return what says whether an instant passes a filter: a time, or `gte`, `gt`, `lte`, `lt`."""
    if name not in params:
        return lambda at: True
    if params.is_level(name):
        level = params.within(name)
        least, above = level.time("gte"), level.time("gt")
        most, below = level.time("lte"), level.time("lt")
        return lambda at: (
            at is not None
            and (least is None or at >= least)
            and (above is None or at > above)
            and (most is None or at <= most)
            and (below is None or at < below)
        )
    wanted = params.required_time(name)
    return lambda at: at is not None and at.replace(microsecond=0) == wanted
