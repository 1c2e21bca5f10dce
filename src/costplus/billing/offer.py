"""Find the card version that a question is about: a customer's, a named card's, or a new customer's."""

from __future__ import annotations

from datetime import datetime

from costplus.billing.card_change import NoSuchRateCard
from costplus.billing.close import account_settings
from costplus.billing.plan import Plan
from costplus.billing.store import Tx
from costplus.billing.subscription import NotSubscribed
from costplus.billing.terms import default_card, terms_of
from costplus.rating.match import AT_COST
from costplus.rating.rate_card import RateCard, RateCardVersion


def card_named(tx: Tx, id: str, *, param: str = "rate_card") -> RateCardVersion:
    """Return a card version by its own id, or the live one of the card with that id."""
    card = tx.find(RateCard, id)
    version = tx.find(RateCardVersion, card.live_version if card else id)
    if version is None:
        raise NoSuchRateCard(f"No such rate card: '{id}'", param=param)
    return version


def card_offered(tx: Tx, *, customer: str = "", card: str = "", at: datetime) -> RateCardVersion:
    """Return the named card, else the customer's, else a new customer's; before the set-up, one at cost."""
    if card:
        return card_named(tx, card)
    if customer:
        return terms_of(tx, customer).card_at(at)
    try:
        return default_card(tx)
    except NotSubscribed:
        return AT_COST


def account_currency(tx: Tx) -> str:
    """Return the currency of the account's plan; before the set-up, usd."""
    settings = account_settings(tx)
    plan = tx.find(Plan, settings.default_plan) if settings else None
    return plan.currency if plan else "usd"
