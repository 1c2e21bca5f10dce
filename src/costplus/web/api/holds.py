"""`/v1/token_billing/holds` and `/v1/token_billing/quotes`: for sellers that call providers themselves.

Reserve before the call, capture what it used (or an amount) after it, release what came to nothing. A hold
that nobody ends is swept when its time is over.
"""

from __future__ import annotations

from datetime import timedelta

from costplus.billing.clock import customer_of
from costplus.billing.customer import Customer
from costplus.billing.reservation import EXPIRES_IN_DEFAULT, EXPIRES_IN_MAX, NoSuchHold, Reservation
from costplus.billing.reserve import Ask, Capture, capture, grow, release, reserve, size
from costplus.billing.store import Tx
from costplus.catalog.names import split_provider
from costplus.core.errors import InvalidRequest
from costplus.core.money import NANO, InvalidAmount, checked_nano
from costplus.core.usage import LEAVES, usage_of
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records
from costplus.web.objects.holds import HoldState, QuoteShown
from costplus.web.params import ParametersExclude, Params

TOKENS_MAX = 10**9


class HoldModelUnclear(InvalidRequest):
    """The model's provider is not named."""

    code = "hold_model_unclear"
    remedy = "Write provider/model, such as openai/gpt-4o."


class TokenTypeUnknown(InvalidRequest):
    """A kind of tokens that nothing here counts."""

    code = "token_type_unknown"
    remedy = f"One of {', '.join(LEAVES)}."


def amount_nano(params: Params, name: str, *, least: int = 0) -> int | None:
    """Return an amount in currency units as nanos, None where it is absent; at most nine decimals."""
    value = params.decimal(name)
    if value is None:
        return None
    numerator, denominator = value.as_integer_ratio()
    nano, rest = divmod(numerator * NANO, denominator)
    if rest or nano < least:
        raise InvalidAmount(
            f"'{value}' is no amount that can be held.",
            param=params.name_of(name),
            remedy="Give currency units with at most nine decimals, not below zero.",
        )
    return checked_nano(nano)


def _model(params: Params) -> str:
    name = params.text("model", longest=300) or ""
    if name and split_provider(name)[0] is None:
        raise HoldModelUnclear(f"'{name}' does not name a provider.", param="model")
    return name


def _ask(params: Params) -> Ask:
    seconds = params.integer("expires_in", least=1, most=int(EXPIRES_IN_MAX.total_seconds()))
    ask = Ask(
        amount_nano=amount_nano(params, "amount", least=1),
        model=_model(params),
        input_tokens=params.integer("input_tokens", most=TOKENS_MAX),
        body_bytes=params.integer("body_bytes", most=TOKENS_MAX) or 0,
        output_tokens_max=params.integer("max_output_tokens", most=TOKENS_MAX),
        expires_in=timedelta(seconds=seconds) if seconds else EXPIRES_IN_DEFAULT,
        on_expiry=params.choice("on_expiry", ("capture", "release")) or "capture",
        metadata=params.metadata(),
    )
    if not ask.model and ask.amount_nano is None:
        raise params.missing("amount")
    return ask


def _shown(tx: Tx, known: Reservation) -> HoldState:
    return HoldState(known, tx.hold(known.customer, known.id))


def create(tx: Tx, call: Call) -> HoldState:
    """Set credit aside: an amount, or what a call of a model is expected to cost at most."""
    customer = customer_of(tx, call.params.required_text("customer"))
    ask = _ask(call.params)
    at = call.present(tx, customer.id)
    return _shown(tx, reserve(tx, call.context.pricing, customer, ask, at=at))


def quote(tx: Tx, call: Call) -> QuoteShown:
    """Return what a call would hold, with its working; nothing is held."""
    customer = customer_of(tx, call.params.required_text("customer"))
    call.params.required_text("model")
    at = call.present(tx, customer.id)
    sized = size(tx, call.context.pricing, customer, _ask(call.params), at=at)
    return QuoteShown(
        customer=customer.id,
        currency=customer.currency,
        provider=sized.provider,
        model=sized.model,
        quote=sized.quote,
    )


def _known(tx: Tx, call: Call) -> tuple[Reservation, Customer]:
    id = call.path["id"]
    known = tx.find(Reservation, id)
    if known is None:
        raise NoSuchHold(f"No such hold: '{id}'", param="id")
    return known, customer_of(tx, known.customer)


def retrieve(tx: Tx, call: Call) -> HoldState:
    """Return a hold."""
    return _shown(tx, _known(tx, call)[0])


def enlarge(tx: Tx, call: Call) -> HoldState:
    """Reserve more on a hold, when a call turns out larger than expected."""
    known, customer = _known(tx, call)
    more = amount_nano(call.params, "amount", least=1)
    if more is None:
        raise call.params.missing("amount")
    at = call.present(tx, customer.id)
    return _shown(tx, grow(tx, customer, known.id, amount_nano=more, at=at))


def _capture(params: Params) -> Capture:
    level = params.within("usage")
    quantities = {name: level.required_integer(name) for name in level.keys()}  # noqa: SIM118 - no mapping.
    for name in quantities:
        if name not in LEAVES:
            raise TokenTypeUnknown(f"Unknown token type: '{name}'.", param=level.name_of(name))
    nano = amount_nano(params, "amount")
    if "usage" in params and nano is not None:
        raise ParametersExclude("usage and amount cannot be used together.", param="amount")
    if "usage" not in params and nano is None:
        raise params.missing("usage")
    final = params.flag("final")
    return Capture(
        usage=usage_of(quantities) if "usage" in params else None,
        amount_nano=nano or 0,
        identifier=params.text("identifier", longest=100) or "capture",
        final=final is None or final,
    )


def take(tx: Tx, call: Call) -> HoldState:
    """Charge what a call used and end its hold, or with `final=false` only this part of it."""
    known, customer = _known(tx, call)
    at = call.present(tx, customer.id)
    taken = _capture(call.params)
    return _shown(tx, capture(tx, call.context.pricing, customer, known.id, taken, at=at))


def give_back(tx: Tx, call: Call) -> HoldState:
    """Release a hold: the call came to nothing."""
    known, customer = _known(tx, call)
    return _shown(tx, release(tx, known.id, at=call.present(tx, customer.id)))


def index(tx: Tx, call: Call) -> Listing:
    """List a customer's holds, or all, newest first."""
    customer = call.params.text("customer")
    if customer:
        customer_of(tx, customer)
    page = records(tx, call, Reservation, parent=customer)
    return Listing(
        [_shown(tx, known) for known in page.entries if isinstance(known, Reservation)], page.has_more
    )


ENDPOINTS = (
    post("/v1/token_billing/holds", create, fresh=True),
    get("/v1/token_billing/holds", index),
    get("/v1/token_billing/quotes", quote),
    get("/v1/token_billing/holds/{id}", retrieve),
    post("/v1/token_billing/holds/{id}", enlarge, fresh=True),
    post("/v1/token_billing/holds/{id}/capture", take),
    post("/v1/token_billing/holds/{id}/release", give_back),
)
