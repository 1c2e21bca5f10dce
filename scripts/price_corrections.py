"""What the vendors have announced and a source has missed: names that are served by another model since.

Each entry is proved by the vendor's own page.
"""

from __future__ import annotations

from datetime import UTC, datetime

MAY_15 = datetime(2026, 5, 15, 19, tzinfo=UTC)  # https://docs.x.ai/developers/migration/may-15-retirement

# (provider, retired model) → since when it is served, and priced, as which model.
REDIRECTS: dict[tuple[str, str], tuple[datetime, str]] = {
    ("xai", "grok-3"): (MAY_15, "grok-4.3"),
    ("xai", "grok-4-0709"): (MAY_15, "grok-4.3"),
    ("xai", "grok-4-fast-reasoning"): (MAY_15, "grok-4.3"),
    ("xai", "grok-4-fast-non-reasoning"): (MAY_15, "grok-4.3"),
    ("xai", "grok-4-1-fast-reasoning"): (MAY_15, "grok-4.3"),
    ("xai", "grok-4-1-fast-non-reasoning"): (MAY_15, "grok-4.3"),
    ("xai", "grok-code-fast-1"): (MAY_15, "grok-4.3"),
}
