"""`GET /v1/models`: what a caller can buy here, at its own selling prices; never what it costs us.

Source: spec "Stripe's wire", §2.1: amounts per single token in major units, exact decimals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from costplus.billing.key_limits import NO_LIMITS, KeyLimits
from costplus.catalog.price import PriceVersion
from costplus.core.errors import BillingError
from costplus.core.ids import new_id
from costplus.core.money import decimal_text
from costplus.gateway.admit import secrets_in
from costplus.gateway.dialect import refusal
from costplus.gateway.directory import Directory
from costplus.gateway.errors import CustomerMissing
from costplus.gateway.key_book import KeyBook
from costplus.gateway.providers import Providers
from costplus.gateway.rsgi_asgi import RsgiProto, RsgiScope
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import ModelNotOnCard, PriceBelowFloor, RateCardVersion

PATHS = frozenset({"/v1/models"})
_USAGE_TYPES = {
    "input": "input",
    "output": "output",
    "cached_input": "cached_input",
    "cache_write_5m": "cached_write",
}


class ModelList:
    """Answers the model list at the prices of the caller's rate card."""

    def __init__(
        self,
        *,
        directory: Directory,
        pricing: Pricing,
        providers: Providers,
        keys: KeyBook,
        now: Callable[[], datetime],
    ) -> None:
        self._keys = keys
        self._directory = directory
        self._pricing = pricing
        self._providers = providers
        self._now = now

    async def __call__(self, scope: RsgiScope, proto: RsgiProto) -> None:
        """Serve one request."""
        request_id = new_id("req", at=self._now())
        try:
            await self._keys.refresh()
            card, at, limits = await self._card(dict(scope.headers.items()))
            models = [
                entry
                for price in self._priced(at)
                if limits.allows(price.provider, price.model)
                and (entry := self._entry(price, card, at)) is not None
            ]
            status, body = 200, msgspec.json.encode({"object": "list", "data": models})
        except BillingError as error:
            status, body = refusal("openai", error, request_id=request_id)
        headers = [("content-type", "application/json"), ("costplus-request-id", request_id)]
        proto.response_bytes(status, headers, body)

    async def _card(self, headers: Mapping[str, str]) -> tuple[RateCardVersion, datetime, KeyLimits]:
        """Return the calling customer's card and present, and its key's limits.

        For a merchant's key alone they are a new customer's.
        """
        try:
            customer, key = await self._directory.caller_for(
                secrets_in(headers), named=headers.get("x-stripe-customer-id")
            )
        except CustomerMissing:
            return await self._directory.default_card(), self._now(), NO_LIMITS
        terms = await self._directory.terms(customer)
        at = terms.now(self._now())
        return terms.card_at(at), at, key.limits

    def _priced(self, at: datetime) -> list[PriceVersion]:
        sold = {self._providers.catalog_of(name) for name in self._providers.names}
        return [price for price in self._pricing.catalogue.models(at=at) if price.provider in sold]

    def _entry(self, price: PriceVersion, card: RateCardVersion, at: datetime) -> dict[str, Any] | None:
        try:
            sheet = self._pricing.sold(price.provider, price.model, card=card, at=at).sheet
            sheet.check_floor()
        except (ModelNotOnCard, PriceBelowFloor):
            return None
        rates = sheet.rates_for(prompt_tokens=1)
        prices = [
            {
                "usage_type": usage_type,
                "unit_amount_major_units": decimal_text(found[2].unit_price),
                "valid_from": price.valid_from.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            for leaf, usage_type in _USAGE_TYPES.items()
            if (found := rates.of(leaf)) is not None and found[2].priced_as == leaf
        ]
        return {
            "id": f"{price.provider}/{price.model}",
            "object": "model",
            "model": price.model,
            "author": price.provider,
            "owned_by": price.provider,
            "created": max(0, int(price.valid_from.timestamp())),
            "stripe_ai_gateway_support": True,
            "endpoints": [{"provider": price.provider, "stripe_ai_gateway_support": True, "prices": prices}],
        }
