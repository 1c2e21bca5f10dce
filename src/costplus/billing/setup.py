"""Set the account up in one step: meter, rate card, plan, settings and the zero-balance alert.

Rule 1: the same parameters again change nothing and answer the same; other parameters make a new card
version and, where the card says `migrate_all`, move every subscription to it.
Source: spec "Stripe's wire", §4 (`token_billing/onboarding/init`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from costplus.billing.alert import Alert
from costplus.billing.allowance import Allowance, CreditTerms, MinimumSpend
from costplus.billing.clock import frozen_time
from costplus.billing.close import account_settings, every_customer
from costplus.billing.customer import OnZeroCredit
from costplus.billing.notify import announce
from costplus.billing.plan import Plan, Settings
from costplus.billing.shadow import Switch, switched
from costplus.billing.store import Tx
from costplus.billing.subscribe import subscribe
from costplus.billing.subscription import Subscription
from costplus.billing.watched import shared_alerts
from costplus.core.ids import new_id
from costplus.metering.event import TOKEN_METER
from costplus.metering.meter import Meter
from costplus.rating.fallback import check_fallback
from costplus.rating.rate_card import (
    Adjustment,
    FixedPrice,
    PriceTracking,
    RateCard,
    RateCardVersion,
    UnpricedPolicy,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUpRequest:
    """What the seller asks for; amounts in minor units. `models` are canonical `provider/model` names.

    Without `unpriced` and `fallback` the card keeps its own; a new card blocks what has no price. Without
    `shadow` usage is tracked only, or not, as before.
    """

    plan_name: str
    models: tuple[str, ...]
    default: Adjustment
    price_tracking: PriceTracking
    fee_minor: int
    credit_minor: int
    on_zero_credit: OnZeroCredit | None = None
    providers: Mapping[str, Adjustment] = field(default_factory=dict)
    model_overrides: Mapping[str, Adjustment] = field(default_factory=dict)
    currency: str = "usd"
    unpriced: UnpricedPolicy | None = field(default=None, repr=False)
    fallback: Mapping[str, FixedPrice] = field(default_factory=dict, repr=False)
    credit_terms: CreditTerms | None = field(default=None, repr=False)
    allowances: tuple[Allowance, ...] = field(default=(), repr=False)
    minimum: MinimumSpend | None = field(default=None, repr=False)
    shadow: bool | None = field(default=None, repr=False)

    @property
    def digest(self) -> str:
        """What tells one request from another."""
        # What is left out is no part of it: a request stays the same when new parameters come to exist.
        parts = (self.unpriced, self.fallback, self.credit_terms, self.allowances, self.minimum)
        said = [repr(self), *(repr(part) for part in parts if part)]
        said += [] if self.shadow is None else [f"shadow={self.shadow}"]
        return hashlib.sha256("\n".join(said).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SetUp:
    """What the account consists of after the set-up."""

    settings: Settings
    plan: Plan
    card: RateCard
    version: RateCardVersion
    meter: Meter


def set_up(tx: Tx, request: SetUpRequest, *, at: datetime) -> SetUp:
    """Create or reuse everything that token billing needs, and subscribe the customers that have no plan."""
    settings = account_settings(tx) or Settings(id=new_id("tbset", at=at), created=at)
    meter = _token_meter(tx, at=at)
    plan = tx.find(Plan, settings.default_plan) if settings.default_plan else None
    if plan is None or settings.set_up_with != request.digest:
        plan = _write_plan(tx, plan, request, at=at)
        settings = replace(
            settings,
            default_plan=plan.id,
            meter=meter.id,
            set_up_with=request.digest,
            on_zero_credit=request.on_zero_credit or settings.on_zero_credit,
        )
        tx.save(settings)
        tx.touch("config")
    _zero_alert(tx, currency=plan.currency, at=at)
    _subscribe_all(tx, plan, at=at)
    card = tx.find(RateCard, plan.rate_card)
    assert card is not None
    version = tx.find(RateCardVersion, card.live_version)
    assert version is not None
    return SetUp(settings, plan, card, version, meter)


def _token_meter(tx: Tx, *, at: datetime) -> Meter:
    meter = tx.find_by_lookup(Meter, TOKEN_METER)
    if meter is None:
        meter = Meter(
            id=new_id("mtr", at=at),
            created=at,
            updated=at,
            display_name="LLM tokens",
            event_name=TOKEN_METER,
            dimensions=("model", "token_type"),
        )
        tx.save(meter)
        announce(tx, "billing.meter.created", meter, at=at)
    return meter


def _write_plan(tx: Tx, plan: Plan | None, request: SetUpRequest, *, at: datetime) -> Plan:
    card = tx.find(RateCard, plan.rate_card) if plan else None
    live = tx.find(RateCardVersion, card.live_version) if card else None
    version = _card_version(card, live, request, at=at)
    if version != live:
        tx.save(version)
    card = replace(
        card
        or RateCard(
            id=version.rate_card, created=at, display_name="", currency="", live_version="", latest_version=""
        ),
        display_name=f"{request.plan_name} · LLM tokens",
        currency=request.currency,
        live_version=version.id,
        latest_version=version.id,
        price_tracking=request.price_tracking,
    )
    tx.save(card)
    if plan is not None and card.price_tracking == "migrate_all":
        _migrate_all(tx, plan, version, at=at)
    plan = replace(
        plan or Plan(id=new_id("bpp", at=at), created=at, display_name="", currency="", rate_card=card.id),
        display_name=request.plan_name,
        currency=request.currency,
        fee_minor=request.fee_minor,
        credit_minor=request.credit_minor,
        credit_terms=request.credit_terms or CreditTerms(),
        allowances=request.allowances,
        minimum=request.minimum,
        shadow=plan_switches(plan, request.shadow, at=at),
    )
    tx.save(plan)
    return plan


def plan_switches(plan: Plan | None, on: bool | None, *, at: datetime) -> tuple[Switch, ...]:
    """Return since when the plan's usage is only tracked; None leaves it as it is."""
    known = plan.shadow if plan else ()
    return known if on is None else switched(known, on=on, since=at)


def _card_version(
    card: RateCard | None, live: RateCardVersion | None, request: SetUpRequest, *, at: datetime
) -> RateCardVersion:
    """Return the live version where it has the request's terms, else one with them at the prices of now.

    What a request does not speak of stays: token types, fixed prices, the floor.
    Raises `FallbackPricesMissing`.
    """
    blank = live or RateCardVersion(
        id="",
        created=at,
        rate_card=card.id if card else new_id("rcd", at=at),
        default=request.default,
        currency=request.currency,
    )
    version = replace(
        blank,
        default=request.default,
        providers=request.providers,
        model_overrides=request.model_overrides,
        models=request.models,
        unpriced=request.unpriced or blank.unpriced,
        fallback=request.fallback or blank.fallback,
    )
    if version == live:
        return version
    check_fallback(version)
    id = new_id("rcv", at=at)
    return replace(version, id=id, created=at, priced_as_of=at, models_as_of=at, kept_as_of={}, admitted=())


def _migrate_all(tx: Tx, plan: Plan, version: RateCardVersion, *, at: datetime) -> None:
    """Move the plan's subscriptions to the card version; usage already rated keeps its price."""
    for customer in every_customer(tx):
        for subscription in tx.page(Subscription, parent=customer.id):
            if subscription.plan == plan.id and subscription.status != "canceled":
                since = frozen_time(tx, customer) or at
                pin = replace(subscription.pin_at(since), since=since, version=version.id)
                tx.save(subscription.moved(pin))


def _zero_alert(tx: Tx, *, currency: str, at: datetime) -> None:
    """See to it that the end of credit in the plan's currency is told, whoever's it is."""
    if not any(
        alert.alert_type == "credit_balance_threshold"
        and (alert.threshold_minor, alert.customer, alert.currency) == (0, "", currency)
        for alert in shared_alerts(tx)
    ):
        tx.save(
            Alert(
                id=new_id("alrt", at=at),
                created=at,
                title="Credit balance is used up",
                threshold_minor=0,
                currency=currency,
            )
        )


def _subscribe_all(tx: Tx, plan: Plan, *, at: datetime) -> None:
    for customer in every_customer(tx):
        if not any(
            s.status != "canceled" and s.prices_usage for s in tx.page(Subscription, parent=customer.id)
        ):
            subscribe(tx, customer, plan, at=frozen_time(tx, customer) or at)
