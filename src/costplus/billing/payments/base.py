"""The payment port: what billing asks of whoever moves money, a bank, a card processor or a simulated one.

Rule 1: a port is asked outside of any transaction; orders with one key are one payment, however often asked.
Rule 2: a refusal is an outcome, no exception; only `ProcessorUnavailable` says that nothing is known.
Rule 3: a callback is believed for its signature and its age, and then only as far as it fits its payment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from costplus.core.errors import InvalidRequest, NotFound, PaymentRequired, Unavailable

OutcomeStatus = Literal["succeeded", "processing", "requires_action", "declined", "canceled", "unknown"]


class ProcessorUnavailable(Unavailable):
    """The payment provider did not answer: whether money moved is not known yet."""

    code = "payment_provider_unavailable"
    remedy = "Nothing is charged twice: the provider is asked again under the same key."


class NoSuchProvider(NotFound):
    """No payment provider has this name here."""

    code = "payment_provider_unknown"
    remedy = "Name one that this server was started with, such as manual."


class MethodRefused(InvalidRequest):
    """The provider knows no such payment method."""

    code = "payment_method_refused"
    remedy = "Give the provider's own name of a method that can be charged."


class CallbackRefused(InvalidRequest):
    """A callback is not what its provider signed."""

    code = "callback_signature_invalid"
    remedy = "Sign the exact bytes of the body with the secret that this server has for the provider."


class CallbackTooOld(InvalidRequest):
    """A callback was signed too long ago (or ahead), so that it may be a replay."""

    code = "callback_timestamp_invalid"
    remedy = "Sign it again at the time of sending; both clocks must be right."


class CardDeclined(PaymentRequired):
    """The provider refused to charge the method. `decline_code` says why."""

    code = "card_declined"
    remedy = "Use another payment method, or try again later."
    decline_code: str = "generic_decline"
    payment: str = ""


class ActionRequired(CardDeclined):
    """The customer has to confirm the payment with the provider."""

    code = "invoice_payment_intent_requires_action"
    remedy = "Let the customer confirm it where the payment's next_action says."
    decline_code = "authentication_required"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One attempt to take money. `method` is the provider's own name of the payment method.

    `at` is the customer's present: real providers have a clock of their own, a simulated one goes by it.
    """

    key: str
    payment: str
    customer: str
    method: str
    amount_minor: int
    currency: str
    reference: str
    at: datetime
    charge: str = ""  # The provider's name of it, where it is known.


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an order. `charge` is the provider's name of it, the amount what really moved."""

    status: OutcomeStatus
    charge: str = ""
    amount_minor: int = 0
    currency: str = ""
    code: str = ""  # Why it was declined, in the words of card networks: `insufficient_funds`.
    message: str = ""
    is_retryable: bool = True
    action_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundOrder:
    """Money to give back from a charge."""

    key: str
    customer: str
    charge: str
    method: str
    amount_minor: int
    currency: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A callback whose signature holds. `payment` and `key` are ours, as the provider was told them."""

    id: str
    provider: str
    kind: str
    payment: str
    key: str
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodFacts:
    """What a provider says of a payment method."""

    kind: str  # card, bank_transfer, …
    label: str  # For people.


class PaymentPort(Protocol):
    """A payment provider. `patience` is how long a payment may stay unfinished before it is called off."""

    @property
    def name(self) -> str: ...
    @property
    def patience(self) -> timedelta | None: ...

    async def describe(self, token: str) -> MethodFacts:
        """Return what the method is, or raise `MethodRefused`."""

    async def start(self, order: Order) -> Outcome:
        """Take the money, or begin to. The same key again answers for the same payment."""

    async def look_up(self, order: Order) -> Outcome:
        """Return what became of the order so far; `unknown` where it never arrived."""

    async def cancel(self, order: Order) -> Outcome:
        """Call the order off where no money moved yet; return what it has become."""

    async def refund(self, order: RefundOrder) -> Outcome:
        """Give money back. The same key again answers for the same refund."""

    def verify(self, headers: Mapping[str, str], body: bytes, *, at: datetime) -> Notice:
        """Return what a callback says, or raise `CallbackRefused` or `CallbackTooOld`; `at` is real time."""
