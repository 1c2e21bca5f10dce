"""Plans (a rate card, an optional fee, optional credit, every period) and the account's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from costplus.billing.allowance import Allowance, CreditTerms, MinimumSpend
from costplus.billing.customer import OnZeroCredit
from costplus.billing.proration import ProrationBy
from costplus.billing.shadow import Switch
from costplus.core.cycle import Interval
from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.records import Record

SETTINGS_LOOKUP = "account"


class NoSuchPlan(NotFound):
    """The pricing plan does not exist."""

    code = "resource_missing"


class PlanArchived(InvalidRequest):
    """The pricing plan takes no new subscriptions."""

    code = "pricing_plan_archived"
    remedy = "Choose an active plan, or activate this one again; subscriptions that it has go on."


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Record):
    """What a subscription is to: amounts in minor units of `currency`, once per `interval_count` intervals.

    A plan without a rate card is a fee only, such as one for seats: it prices no usage.
    """

    KIND: ClassVar[str] = "plan"

    display_name: str
    currency: str
    rate_card: str  # Prices the usage; empty for a plan that is a fee only.
    interval: Interval = "month"
    interval_count: int = 1
    fee_minor: int = 0  # For each unit of the subscription's quantity.
    credit_minor: int = 0  # Promotional credit at each period's start; what is left expires at its end.
    metadata: Mapping[str, str] = field(default_factory=dict)
    active: bool = True  # Takes new subscriptions.
    description: str | None = None
    lookup_key: str | None = None
    trial_period_days: int = 0
    trial_usage: Literal["billed", "free"] = "billed"
    pause_usage: Literal["blocked", "free"] = "blocked"
    proration_by: ProrationBy | None = None  # None: as the account's settings say.
    invoice_grace_s: int | None = None  # In place of the account's.
    late_usage: Literal["next_invoice", "write_off"] | None = None
    overage_limit_minor: int | None = None  # What a customer may owe beyond credit; None: any amount.
    on_zero_credit: OnZeroCredit | None = None  # Of its customers that have no rule of their own.
    credit_terms: CreditTerms = field(default_factory=CreditTerms)
    allowances: tuple[Allowance, ...] = ()
    minimum: MinimumSpend | None = None
    shadow: tuple[Switch, ...] = ()  # Since when its usage is only tracked, or asked for again.


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Record):
    """The account's one record of defaults (`tbset_…`)."""

    KIND: ClassVar[str] = "settings"

    default_plan: str = ""  # New customers are subscribed to it.
    meter: str = ""
    on_zero_credit: OnZeroCredit = "overage"
    invoice_grace_s: int = 3600  # A closed period's draft waits this long for late usage.
    set_up_with: str = ""  # Digest of the set-up's parameters.
    gateway_tested: bool = False
    proration_by: ProrationBy = "second"
    subscribe_new_customers: bool = True  # To the default plan, as they are created.

    @property
    def lookup(self) -> str:
        return SETTINGS_LOOKUP
