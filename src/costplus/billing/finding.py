"""A finding of the audit: what does not agree with what it was made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """`subject` (an id or a name) of a kind, and how it is wrong."""

    kind: str
    subject: str
    wrong: str

    @property
    def sentence(self) -> str:
        return f"{self.kind} {self.subject}: {self.wrong}"
