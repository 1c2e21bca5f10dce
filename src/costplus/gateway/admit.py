"""Admit a call: who pays, at what price, with how much held; then the intent is journalled.

Rule 1: everything that can refuse comes before the hold, the hold before the intent, the intent before the
provider. A refusal changes nothing.
Rule 2: the model's provider is the one its name or the endpoint declares, never guessed from the name.
Rule 3: a model without a price is refused, or taken by what its card lets stand in for the price.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import unquote

from costplus.billing.customer import ApiKey
from costplus.billing.entitlement import Terms
from costplus.catalog.context import RequestContext, asking, circumstances
from costplus.catalog.names import split_provider
from costplus.catalog.price import PriceVersion
from costplus.core.errors import InvalidRequest
from costplus.core.ids import new_id
from costplus.core.usage import OWN_KEY
from costplus.gateway.call import Call
from costplus.gateway.credentials.credential import Credential
from costplus.gateway.directory import Directory
from costplus.gateway.endpoint import Endpoint
from costplus.gateway.errors import ModelNotForKey
from costplus.gateway.journal import Intent, Journal
from costplus.gateway.key_book import KeyBook
from costplus.gateway.leases import Leases
from costplus.gateway.providers import Provider, Providers
from costplus.gateway.rates import KeyRates
from costplus.gateway.sending import sending_of
from costplus.gateway.served import asked_for
from costplus.gateway.stored import StoredState, check_stored, check_stored_fields
from costplus.gateway.wire.form import is_form, parse_form
from costplus.gateway.wire.request import WireRequest, parse_request
from costplus.rating.charge import uncovered
from costplus.rating.pricing import Pricing
from costplus.rating.quote import OUTPUT_TOKENS_DEFAULT, quote
from costplus.rating.sheet import sheet_for


class TierUnpriced(InvalidRequest):
    """The service tier asked for costs more than the model's list price, and how much is not known."""

    code = "service_tier_unpriced"
    remedy = "Leave `service_tier` and `speed` at their defaults."


class Admitter:
    """Turns a request into an admitted call."""

    def __init__(
        self,
        *,
        directory: Directory,
        providers: Providers,
        pricing: Pricing,
        leases: Leases,
        journal: Journal,
        keys: KeyBook,
        now: Callable[[], datetime],
        output_tokens_default: int = OUTPUT_TOKENS_DEFAULT,
        stored_state: StoredState = "merchant",
    ) -> None:
        self._directory = directory
        self._providers = providers
        self._pricing = pricing
        self._leases = leases
        self._journal = journal
        self._keys = keys
        self._now = now
        self._rates = KeyRates()
        self.output_tokens_default = output_tokens_default
        self.stored_state = stored_state

    async def admit(
        self, endpoint: Endpoint, headers: Mapping[str, str], body: bytes, *, query: str = ""
    ) -> Call:
        """Return the call, its credit held and its intent journalled, or raise what refuses it."""
        customer, key = await self._directory.caller_for(
            secrets_in(headers, query), named=headers.get("x-stripe-customer-id")
        )
        content_type = headers.get("content-type", "")
        if endpoint.is_native and is_form(content_type):
            request = parse_form(body, content_type, model=endpoint.model)
            if self._keeps_apart(key):
                check_stored_fields(request.fields)
        else:
            request = parse_request(body, wire=endpoint.wire, model=endpoint.model, streams=endpoint.streams)
            if self._keeps_apart(key):
                check_stored(body, wire=endpoint.wire)
        provider, model = self._provider_of(request.model, endpoint)
        terms = await self._directory.terms(customer)
        own = await self._keys.own(customer, provider.settings.name)
        call = self._price(endpoint, provider, model, request, terms, body=body, headers=headers, own=own)
        call.api_key = key.id
        names = (call.sheet.model, model)  # As the catalogue has it, or as the key's maker may know it.
        if not any(key.limits.allows(call.sheet.provider, name) for name in names):
            raise ModelNotForKey(
                f"This key may not call '{call.sheet.provider}/{call.sheet.model}'.", param="model"
            )
        call.ticket = self._rates.begin(key, sum(call.quote.usage.quantities.values()))
        try:
            if terms.holds(call.at):
                call.held = await self._leases.hold(
                    terms,
                    call.quote.charge.price_nano,
                    api_key=key.id,
                    subject=f"{call.sheet.provider}/{call.sheet.model}",
                    at=call.at,
                )
            self._intend(call)
        except BaseException:
            call.ticket.used(0)
            call.ticket.end()
            raise
        return call

    async def known(
        self, endpoint: Endpoint, headers: Mapping[str, str], body: bytes, *, query: str = ""
    ) -> Provider:
        """Return the provider of what costs nothing; its caller must be a customer all the same."""
        customer, key = await self._directory.caller_for(
            secrets_in(headers, query), named=headers.get("x-stripe-customer-id")
        )
        await self._directory.terms(customer)
        if self._keeps_apart(key):
            check_stored(body, wire=endpoint.wire)
        self._rates.begin(key, 0).end()
        return self._providers.named(endpoint.provider)

    def _keeps_apart(self, key: ApiKey) -> bool:
        """Return whether a key's calls may not name what a provider keeps: it may be another customer's."""
        return self.stored_state == "refuse" or (self.stored_state == "merchant" and bool(key.customer))

    def _provider_of(self, name: str, endpoint: Endpoint) -> tuple[Provider, str]:
        if endpoint.is_native or endpoint.model:
            return self._providers.named(endpoint.provider), name
        head, slash, rest = name.partition("/")
        if slash and rest and head in self._providers.names:
            return self._providers.named(head), rest
        named, model = split_provider(name)
        return self._providers.named(named or endpoint.provider), model

    def _price(
        self,
        endpoint: Endpoint,
        provider: Provider,
        model: str,
        request: WireRequest,
        terms: Terms,
        *,
        body: bytes,
        headers: Mapping[str, str],
        own: Credential | None,
    ) -> Call:
        """Price the request as of the customer's present; nothing is changed by it."""
        at = terms.now(self._now())
        card = terms.card_at(at)
        sold_as = provider.sold_as(model, is_native=endpoint.is_native)
        priced = self._pricing.taken(provider.catalog, sold_as, card=card, at=at)
        flags = (OWN_KEY,) if own else ()
        sheet, name = sheet_for(priced.sheet, flags), priced.name
        sheet.check_floor()
        # A call made now is no batch, whatever its model's name says; its fast mode costs what it costs.
        fast = ("speed", "fast") in name.modifiers
        context = asked_for(request, at=at)
        if fast:
            context = asking(context, [("speed", "fast")])
        _check_tier(context, priced.quoted.price)
        limit = None if request.max_tokens is None else request.max_tokens * request.choices_max
        quoted = quote(
            sheet_for(priced.quoted, flags),
            body_bytes=len(body) if request.text_bytes is None else request.text_bytes,
            output_tokens_max=limit,
            has_output=endpoint.has_output,
            output_tokens_default=self.output_tokens_default * request.choices_max,
            context=context,
        )
        id = new_id("req", at=at)
        sending = sending_of(
            request,
            body,
            endpoint=endpoint,
            provider=provider,
            model=model,
            max_tokens=sheet.price.output_tokens_max or self.output_tokens_default,
            id=id,
            at=at,
        )
        return Call(
            id=id,
            endpoint=endpoint,
            sending=sending,
            received=headers,
            request=request,
            requested_model=request.model,
            terms=terms,
            sheet=sheet,
            quote=quoted,
            at=at,
            fast=fast,
            context=context,
            flags=flags,
            own_credential=own,
        )

    def _intend(self, call: Call) -> None:
        """Journal the intent; where the journal refuses, the hold is given back."""
        intent = Intent(
            id=call.id,
            customer=call.terms.customer.id,
            at=call.at,
            provider=call.sheet.provider,
            model=call.sheet.model,
            requested_model=call.requested_model,
            input_tokens=call.quote.usage.quantities["input"],
            price_version=call.sheet.price.id,
            circumstances=circumstances(call.context),
            card_version=call.sheet.card.id,
            hold=call.held.lease.hold_id if call.held.lease else "",
            held_nano=call.held.amount_nano,
            api_key=call.api_key,
            own_key=call.own_credential is not None,
        )
        try:
            self._journal.intend(intent)
        except BaseException:
            call.held.close(0)
            raise


def secrets_in(headers: Mapping[str, str], query: str = "") -> tuple[str, ...]:
    """Return the keys that the caller sent: bearer token first, then the other dialects' ways.

    Amazon's SDKs sign their requests and, without TLS, send no token: the id of the access key is the key
    then, and the signature, which the provider would want of its own secret, is nobody's.
    """
    found = []
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        found.append(token.strip())
    elif scheme == "AWS4-HMAC-SHA256":
        found.append(token.partition("Credential=")[2].partition("/")[0])
    found += [headers[name] for name in ("x-api-key", "api-key", "x-goog-api-key") if headers.get(name)]
    if "key=" in query:
        found += [unquote(part[4:]) for part in query.split("&") if part.startswith("key=")]
    return tuple(found)


def _check_tier(context: RequestContext, price: PriceVersion) -> None:
    """Refuse what may cost more than the price version says: it would be sold below cost."""
    for field, word in uncovered(price, context):
        raise TierUnpriced(
            f"{field} '{word}' has no price for {price.provider}/{price.model} yet.", param=field
        )
