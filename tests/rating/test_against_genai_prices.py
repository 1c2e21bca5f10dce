"""Our costs against another calculator over the same prices: the library genai-prices, of the same release.

Rule 1: at no markup both cost the same to the last digit, or one of `EXCEPTIONS` says why not.
Rule 2: an exception names its models, and each of them must still differ, so that none outlives its reason.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import __version__ as their_release
from genai_prices.data import providers as their_providers
from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint, TieredPrices

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.context import STANDARD, RequestContext
from costplus.catalog.names import canonical_provider
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.core.usage import LEAVES, Usage
from costplus.rating.charge import Charge, rate
from costplus.rating.sheet import SheetCache

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from price_corrections import MAY_15, REDIRECTS

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)  # A Tuesday, outside every window of the day.
WEEKDAY_PEAK, SATURDAY = datetime(2026, 11, 10, 2, tzinfo=UTC), datetime(2026, 11, 7, 2, tzinfo=UTC)
EARLIER_PEAK = datetime(2026, 7, 1, 2, tzinfo=UTC)  # Before the prices that have windows began.
INSTANT = timedelta(microseconds=1)
FIRST_PARTY = frozenset({"anthropic", "deepseek", "mistral", "openai", "xai"})
MODELS_MIN, CASES_MIN = 2_270, 17_000  # Of 2,330 models; the numbers may only grow.

Model = tuple[str, str]
Quantities = Mapping[str, int]

# Our leaf → their counts that it adds to: theirs overlap, the whole first.
COUNTS: Mapping[str, tuple[str, ...]] = {
    "input": ("input_tokens",),
    "cached_input": ("input_tokens", "cache_read_tokens"),
    "cache_write_5m": ("input_tokens", "cache_write_tokens"),
    "cache_write_1h": ("input_tokens", "cache_write_tokens", "cache_write_1h_tokens"),
    "input_audio": ("input_tokens", "input_audio_tokens"),
    "cached_input_audio": (
        *("input_tokens", "cache_read_tokens"),
        *("input_audio_tokens", "cache_audio_read_tokens"),
    ),
    "input_image": ("input_tokens", "input_image_tokens"),
    "cached_input_image": (
        *("input_tokens", "cache_read_tokens"),
        *("input_image_tokens", "cache_image_read_tokens"),
    ),
    "input_video": ("input_tokens", "input_video_tokens"),
    "output": ("output_tokens",),
    "reasoning": ("output_tokens", "output_reasoning_tokens"),
    "output_audio": ("output_tokens", "output_audio_tokens"),
    "output_image": ("output_tokens", "output_image_tokens"),
    "output_video": ("output_tokens", "output_video_tokens"),
    "web_search": ("web_searches",),
}
# What is tried only where they have a price for it: else a media token is a token of text to both.
PRICED_APART: Mapping[str, str] = {
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "cache_audio_read_mtok": "cached_input_audio",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
    "cache_image_read_mtok": "cached_input_image",
    "input_video_mtok": "input_video",
    "output_video_mtok": "output_video",
    "web_searches_kcount": "web_search",
}
PLAIN = {"input": 1_003, "output": 507}
CACHED = {**PLAIN, "cached_input": 2_011}
USAGES: tuple[Quantities, ...] = (
    PLAIN,
    CACHED,
    {**CACHED, "cache_write_5m": 307},
    {**CACHED, "cache_write_1h": 307},
    {**PLAIN, "reasoning": 707},
)


@dataclass(frozen=True, slots=True)
class Case:
    """One request as both calculators are asked about it, and what they answered."""

    model: Model
    quantities: Quantities
    asked: Mapping[str, str]
    at: datetime
    ours: Fraction
    theirs: Fraction


@dataclass(frozen=True, slots=True)
class Known:
    """Why some models' costs differ, and in which cases."""

    reason: str
    models: frozenset[Model]
    where: Callable[[Case], bool]

    def explains(self, case: Case) -> bool:
        return case.model in self.models and self.where(case)


def of(provider: str, *models: str) -> frozenset[Model]:
    return frozenset((provider, model) for model in models)


def is_read_from_cache(case: Case) -> bool:
    return any(leaf.startswith("cached_") for leaf in case.quantities)


def is_noise(case: Case) -> bool:
    return abs(case.ours - case.theirs) < case.theirs * Fraction("1e-9")


# Their cache writes are a twelfth of a dollar, cut somewhere behind the tenth digit.
FLASH = (
    *("2.5-flash", "2.5-flash-lite", "3-flash-preview", "3.1-flash-lite", "3.5-flash", "3.5-flash-lite"),
    *("3.6-flash", "3.7-flash", "3.8-flash"),
)
EXCEPTIONS: Mapping[str, Known] = {
    "redirected": Known(
        "The vendor serves and bills these names as grok-4.3 since 2026-05-15; theirs have the old prices.",
        frozenset(REDIRECTS),
        lambda case: case.at >= MAY_15,
    ),
    "scheduled": Known(
        "An announced price may be cancelled: ours never applies by itself, theirs does from its day on.",
        of("google", "gemini-3.6-flash", "gemini-3.7-flash", "gemini-3.8-flash", "gemini-4-argon")
        | of("google", "gemini-3.8-flash-tts", "gemini-3.8-flash-lite-tts")
        | of("google", "gemini-robotics-er-2-preview", "gemini-robotics-er-2-streaming-preview"),
        lambda case: case.at > NOW,
    ),
    "cache price added": Known(
        "LiteLLM agrees on the list price and has one for cached input; without it theirs is the full price.",
        of("fireworks", "glm-4p7", "minimax-m2p1")
        | of("google", "gemini-2.5-flash-image", "gemini-2.5-pro-tts")
        | of("google", "gemini-3.8-flash-tts", "gemini-3.8-flash-lite-tts")
        | of("mistral", "codestral", "devstral-small", "mistral-tiny", "pixtral-large")
        | of("openai", "gpt-4o-search-preview"),
        is_read_from_cache,
    ),
    "noise repaired": Known(
        "Theirs has the digits that binary arithmetic left behind; ours are repaired, to within 1e-9.",
        of("openrouter", *(f"google/gemini-{name}{how}" for name in FLASH for how in ("", ":batch")))
        | of("openrouter", "google/gemini-2.5-flash-image", "~google/gemini-flash-latest")
        | of("huggingface_together", "Qwen/Qwen3-VL-8B-Instruct", "deepseek-ai/DeepSeek-V4-Flash-0731")
        | of("huggingface_together", "meta-llama/Llama-3.3-70B-Instruct"),
        is_noise,
    ),
    "weekdays": Known(
        "The vendor's peak hours are those of weekdays; theirs has no weekdays.",
        of("deepseek", "deepseek-flash", "deepseek-v4-flash", "deepseek-v4-pro"),
        lambda case: case.at == SATURDAY,
    ),
    "windows reach back": Known(
        "Their windows of the day apply before the price that they belong to had begun.",
        of("deepseek", "deepseek-v4-flash", "deepseek-v4-pro"),
        lambda case: case.at == EARLIER_PEAK,
    ),
}


def instants(model: ModelInfo) -> list[datetime]:
    """Return now, both sides of each dated price's beginning, and hours in and out of windows."""
    dated = model.prices if isinstance(model.prices, list) else []
    constraints = [price.constraint for price in dated if price.constraint is not None]
    begun = {
        datetime.combine(constraint.start_date, datetime.min.time(), UTC)
        for constraint in constraints
        if isinstance(constraint, StartDateConstraint)
    }
    found = [NOW, *(at for start in sorted(begun) for at in (start - INSTANT, start))]
    if len(begun) < len(constraints):
        found += [WEEKDAY_PEAK, SATURDAY, EARLIER_PEAK]
    return found


def usages(price: ModelPrice) -> Iterator[Quantities]:
    """Yield what is asked of every model, of what has a price of its own, and around its thresholds."""
    yield from USAGES
    stated = {key: value for key, value in vars(price).items() if value is not None}
    for key, leaf in PRICED_APART.items():
        if key in stated:
            yield {**PLAIN, leaf: 61}
    tiered = [value for value in stated.values() if isinstance(value, TieredPrices)]
    for start in sorted({tier.start for value in tiered for tier in value.tiers}):
        for prompt_tokens in (start - 1, start, start + 1):
            yield {"input": prompt_tokens, "output": 507}
            yield {**CACHED, "cache_write_5m": 307, "input": prompt_tokens - 2_011 - 307}


def their_cost(
    provider: Provider, model: ModelInfo, used: Quantities, asked: dict[str, str], at: datetime
) -> Fraction:
    """Return what `calc_price` answers once it has found the model: not every id finds its own."""
    counts: Counter[str] = Counter()
    for leaf, quantity in used.items():
        counts.update(dict.fromkeys(COUNTS[leaf], quantity))
    theirs = TheirUsage(**counts)
    found = model.calc_price(theirs, provider, genai_request_timestamp=at, price_context=asked)
    return Fraction(found.total_price)


def exact_cost(charge: Charge) -> Fraction:
    """Return a charge's cost before its one rounding; a leaf without a price counts nothing in either."""
    return sum((line.quantity * line.rate.unit_cost for line in charge.lines), Fraction(0))


@dataclass(slots=True)
class Compared:
    """Every model that both know and every case of it."""

    models: int = 0
    cases: list[Case] = field(default_factory=list)
    unpriced: list[Model] = field(default_factory=list)  # They know it, and we have no price for tokens.


def compare(card: object, only: frozenset[str] | None = None) -> Compared:
    """Ask both about every model, of some providers or of all."""
    catalogue, sheets, found = bundled_catalogue(), SheetCache(), Compared()
    for provider in their_providers:
        name = canonical_provider(provider.id)
        if only is not None and name not in only:
            continue
        for model in provider.models:
            if not catalogue.versions(name, model.id):
                found.unpriced.append((name, model.id))
                continue
            found.models += 1
            found.cases += cases_of(catalogue, sheets, card, provider=provider, model=model)
    return found


def cases_of(
    catalogue: Catalogue, sheets: SheetCache, card: object, *, provider: Provider, model: ModelInfo
) -> Iterator[Case]:
    """Yield a model's cases: at every instant, in every circumstance that has prices of its own."""
    name = canonical_provider(provider.id)
    variants = {tuple(sorted(variant.when.items())) for variant in model.price_variants or ()}
    for at in instants(model):
        price, _ = catalogue.price_at(name, model.id, at=at)
        sheet = sheets.sheet(price, card)  # type: ignore[arg-type]  # The builders' card.
        for asked in ({}, *map(dict, sorted(variants))):
            words = {field: STANDARD if word == "default" else word for field, word in asked.items()}
            context = RequestContext(at=at, **words)  # type: ignore[arg-type]  # Fields of words.
            for used in usages(model.get_prices(at, asked)):
                ours = exact_cost(rate(Usage(used), sheet, context=context))
                theirs = their_cost(provider, model, used, asked, at)
                yield Case((name, model.id), used, asked, at, ours, theirs)


def judged(cases: Iterable[Case]) -> tuple[Counter[str], dict[str, set[Model]], list[Case]]:
    """Return how many cases are equal or known to differ, whose they are, and those that nothing explains."""
    counts: Counter[str] = Counter()
    differing: dict[str, set[Model]] = {why: set() for why in EXCEPTIONS}
    unexplained: list[Case] = []
    for case in cases:
        if case.ours == case.theirs:
            counts["equal"] += 1
            continue
        why = next((why for why, known in EXCEPTIONS.items() if known.explains(case)), None)
        if why is None:
            unexplained.append(case)
        else:
            counts[why] += 1
            differing[why].add(case.model)
    return counts, differing, unexplained


def stale(differing: Mapping[str, set[Model]]) -> dict[str, frozenset[Model]]:
    """Return the models of each exception that differ no longer: they are to be removed from it."""
    left = {why: known.models - differing[why] for why, known in EXCEPTIONS.items()}
    return {why: models for why, models in left.items() if models}


def test_a_difference_is_explained_only_for_the_models_and_cases_of_an_exception_and_none_may_be_idle() -> (
    None
):
    def case(model: str, at: datetime, *, theirs: int) -> Case:
        return Case(("deepseek", model), PLAIN, {}, at, Fraction(1), Fraction(theirs))

    explained = case("deepseek-v4-pro", SATURDAY, theirs=2)
    others = [case("deepseek-v4-pro", NOW, theirs=2), case("deepseek-chat", SATURDAY, theirs=2)]
    counts, differing, unexplained = judged([explained, *others, case("deepseek-chat", NOW, theirs=1)])
    assert counts == {"equal": 1, "weekdays": 1}
    assert unexplained == others
    assert stale(differing)["weekdays"] == of("deepseek", "deepseek-flash", "deepseek-v4-flash")


def test_the_library_is_of_the_release_that_the_bundled_prices_are_of() -> None:
    assert bundled_catalogue().sources["genai-prices"] == their_release


def test_every_leaf_of_tokens_is_asked_about() -> None:
    tokens = {leaf.name for leaf in LEAVES.values() if leaf.unit == "token"}
    unknown_to_them = {"cache_write_12h", "cached_input_video"}  # They have no price key for either.
    assert tokens - set(COUNTS) == unknown_to_them


def test_the_vendors_own_models_cost_what_the_library_says(build: SimpleNamespace) -> None:
    found = compare(build.card(), FIRST_PARTY)
    _, _, unexplained = judged(found.cases)
    assert found.models > 100
    assert unexplained == []


@pytest.mark.slow
def test_every_model_costs_what_the_library_says_or_differs_for_a_known_reason(
    build: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compare(build.card())
    counts, differing, unexplained = judged(found.cases)
    said = ", ".join(f"{why} {counts[why]} (models: {len(differing[why])})" for why in EXCEPTIONS)
    with capsys.disabled():
        sys.stdout.write(
            f"\nagainst genai-prices {their_release}: {found.models:,} models, {len(found.cases):,} "
            f"requests: {counts['equal']:,} equal to the last digit; {said}; unexplained {len(unexplained)}; "
            f"not priced by tokens here: {len(found.unpriced)} models\n"
        )
    assert unexplained == []
    assert stale(differing) == {}
    assert found.models >= MODELS_MIN and len(found.cases) >= CASES_MIN
