"""What a key of a customer's may do: which models, until when, how much in a minute and at once.

Rule 1: a limit that is not set does not limit. Rule 2: what is spent is limited by spend caps, exactly; these
limits keep a runaway client from its neighbours, and each gateway process counts for itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from costplus.core.errors import InvalidRequest

MODELS_MAX = 200
PER_MINUTE_MAX = 10**9
ANY = "*"


class KeyModelInvalid(InvalidRequest):
    """A key's list of models has an entry that names none."""

    code = "key_model_invalid"
    remedy = "Write provider/model, or provider/* for all of a provider's models."


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """The limits of one key."""

    models: tuple[str, ...] = ()  # `provider/model` or `provider/*`; none: every model that is sold.
    expires_at: datetime | None = None
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    parallel_requests: int = 0

    @property
    def has_rates(self) -> bool:
        """Whether anything is counted for it."""
        return bool(self.requests_per_minute or self.tokens_per_minute or self.parallel_requests)

    def is_expired(self, at: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= at

    def allows(self, provider: str, model: str) -> bool:
        """Return whether the key may call the model."""
        if not self.models:
            return True
        return f"{provider}/{model}" in self.models or f"{provider}/{ANY}" in self.models


NO_LIMITS = KeyLimits()


def checked_models(names: Iterable[str]) -> tuple[str, ...]:
    """Return a key's list of models, each once; raise `KeyModelInvalid` where one is no name."""
    found = tuple(dict.fromkeys(name.strip() for name in names))
    if len(found) > MODELS_MAX:
        raise KeyModelInvalid(f"A key lists at most {MODELS_MAX} models.", param="models")
    for name in found:
        provider, slash, model = name.partition("/")
        if not (provider and slash and model) or ANY in provider or (ANY in model and model != ANY):
            raise KeyModelInvalid(f"'{name}' names no model.", param="models")
    return found
