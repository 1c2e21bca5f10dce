"""Watching calls pass: what metrics, logs and traces are told of an exchange with a client.

Rule 1: a watcher is told when a call was admitted and when an exchange has ended; between them the exchange
only notes instants. It changes nothing of the call but the trace headers that go on to the provider.
Rule 2: a watcher is quick, waits for nothing and never raises: the caller waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from costplus.gateway.call import Call
from costplus.gateway.endpoint import Endpoint

ANSWER_BYTES_KEPT = 256 << 10
CLIENT_GONE = 499  # What the field notes where the client left before there was an answer.


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request to the gateway and what became of it; instants are the process's steady clock's seconds."""

    path: str
    began_s: float  # When its head was there,
    read_s: float = 0.0  # its body,
    sent_on_s: float = 0.0  # and all that comes before the provider is asked; 0: it never was.
    first_piece_s: float = 0.0  # When the first piece of a streamed answer went out.
    ended_s: float = 0.0
    endpoint: Endpoint | None = None
    call: Call | None = None
    request_id: str = ""
    status: int = 0  # 0: nothing was answered.
    error_code: str = ""  # Why it was refused by us.
    received: Mapping[str, str] | None = None  # The caller's headers.
    body: bytes = b""
    answer: list[bytes] | None = None  # The answer's pieces, kept only where somebody wants to see them.

    def keep(self, piece: bytes) -> None:
        """Keep a piece of the answer, up to a bound, where somebody wants to see it."""
        if self.answer is not None and sum(map(len, self.answer)) < ANSWER_BYTES_KEPT:
            self.answer.append(piece)

    @property
    def noted_status(self) -> int:
        """The status that was answered; `CLIENT_GONE` where nobody was there to take one."""
        return self.status or CLIENT_GONE

    @property
    def overhead_s(self) -> float:
        """What the gateway itself took: before the provider was asked, and for the accounting."""
        assert self.call is not None and self.sent_on_s
        return self.sent_on_s - self.read_s + self.call.accounting_s


class Watcher(Protocol):
    """Somebody who watches calls."""

    def admitted(self, exchange: Exchange) -> None:
        """Its call is about to be sent on."""

    def ended(self, exchange: Exchange) -> None:
        """The client has its answer, a refusal, or is gone; what the call used is known."""
