"""A call as one provider gets it: where to, in which dialect, with what body.

Rule 1: a body goes on as it came, but for the model's name and the usage that a chat stream is asked for;
where the provider speaks another dialect than the caller, it is written anew in the provider's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from costplus.gateway.endpoint import Endpoint
from costplus.gateway.providers import Provider
from costplus.gateway.translate.translation import TranslatedStream, Translation, translation
from costplus.gateway.wire.request import WireRequest, rewrite


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What one provider is sent."""

    provider: Provider
    endpoint: Endpoint  # The provider's: its wire reads the answer.
    body: bytes
    strip_usage: bool = False  # Whether the answer's usage exists only because we asked for it.
    translation: Translation | None = None  # None where the caller speaks the provider's dialect.

    def passage(self) -> TranslatedStream | None:
        """Return what a stream must go through on its way back; None where it passes as it is."""
        return self.translation.stream() if self.translation else None


def sending_of(
    request: WireRequest,
    body: bytes,
    *,
    endpoint: Endpoint,
    provider: Provider,
    model: str,
    max_tokens: int,
    id: str,
    at: datetime,
) -> Sending:
    """Return what `provider` is sent for a request made at `endpoint`.

    `max_tokens` is what the call is held for; it is said where a dialect demands a limit and the caller
    named none; `id` and `at` are the call's. Raises `NotExpressible`, `DialectUnsupported`, `InvalidRequest`.
    """
    if not endpoint.is_native:
        model = provider.sent_as(model)
    there = provider.endpoint_for(endpoint, model=model, streams=request.stream)
    if there.shape == "anthropic" and not there.is_native:
        model = model.replace(".", "-")  # Stripe writes claude-sonnet-4.5, Anthropic claude-sonnet-4-5.
    if there.wire != endpoint.wire:
        translated = translation(body, caller_wire=endpoint.wire, target_wire=there.wire, answer_id=id, at=at)
        written = translated.request(model=model, max_tokens=max_tokens)
        return Sending(provider=provider, endpoint=there, body=written, translation=translated)
    is_chat = endpoint.wire == "openai_chat"
    injected = False
    if not endpoint.is_native or (is_chat and request.stream):  # Each key once: what was understood.
        body, injected = rewrite(request, model=model, include_usage=is_chat)
    return Sending(provider=provider, endpoint=there, body=body, strip_usage=injected)
