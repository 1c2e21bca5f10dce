"""The load generator: so many callers, a fixed rate, or streams that stay open. Run as a program.

One epoll loop that reads as little of an answer as it takes to know its end, so that the load costs less
than what it measures.
Rule 1: at a fixed rate, time counts from the instant at which a call was due, sent or not, so that a server
that falls behind cannot hide it.
Rule 2: a call that has begun is read to its end, so that every call can be held against a bill.
Rule 3: any status but 200 is an error, and so is an answer without its usage or a stream without `[DONE]`.
"""

from __future__ import annotations

import argparse
import json
import re
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LATE_S = 30
_READ_BYTES = 1 << 16
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_TAIL_BYTES = 64


@dataclass(slots=True)
class Outcome:
    """What a run found; times in seconds."""

    took_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)  # To the first byte of the answer.
    errors: int = 0
    elapsed_s: float = 0

    def as_json(self) -> str:
        """Return the run's figures as one JSON object."""
        took, first = sorted(self.took_s), sorted(self.first_s)
        return json.dumps(
            {
                "requests": len(took),
                "errors": self.errors,
                "seconds": self.elapsed_s,
                "p50_ms": quantile(took, 0.50) * 1000,
                "p99_ms": quantile(took, 0.99) * 1000,
                "longest_ms": took[-1] * 1000 if took else 0,
                "first_p50_ms": quantile(first, 0.50) * 1000,
                "first_p99_ms": quantile(first, 0.99) * 1000,
            }
        )


def quantile(ordered: list[float], share: float) -> float:
    """Return the value below which `share` of the ordered values lie; 0 where there are none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


class Call:
    """One connection and the answer that it is reading."""

    __slots__ = ("due", "end", "first", "left", "ok", "parts", "request", "server", "socket", "tail")

    def __init__(self, server: tuple[str, int], request: bytes) -> None:
        self.server = server
        self.request = request
        self.socket = socket.create_connection(server, timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.end = b""

    def begin(self, due: float, end: bytes) -> None:
        """Send the request, which was due at `due`; its answer has to contain `end`."""
        self.due = due
        self.end = end
        self.first = 0.0
        self.left: int | None = None  # Of the body; -1 where only its last chunk ends it.
        self.ok = False
        self.tail = b""
        sent = self.socket.send(self.request)
        assert sent == len(self.request)  # A kilobyte fits an empty buffer.

    def read(self, data: bytes, now: float) -> bool:
        """Take what arrived; return whether the answer is complete."""
        if not self.first:
            self.first = now
        if self.left is None:
            data = self.tail + data
            body = data.find(b"\r\n\r\n") + 4
            if body < 4:
                self.tail = data
                return False
            self.ok = data[9:12] == b"200"
            length = _LENGTH.search(data, 0, body)
            self.left = int(length[1]) if length else -1
            self.tail = b""
            data = data[body - 2 :] if self.left < 0 else data[body:]
        if self.left < 0:
            self.tail = (self.tail + data)[-_TAIL_BYTES:]
            complete = self.tail.endswith(_LAST_CHUNK)
        else:
            self.tail += data
            complete = len(self.tail) >= self.left
        if complete:
            self.ok = self.ok and self.end in self.tail
            self.end = b""
        return complete


class Load:
    """The connections and the loop that drives them."""

    def __init__(self, urls: list[str], headers: list[str], body: bytes) -> None:
        self._servers: list[tuple[tuple[str, int], bytes]] = []
        for url in urls:
            parts = urlsplit(url)
            lines = [f"POST {parts.path} HTTP/1.1", f"host: {parts.netloc}", *headers]
            lines += ["content-type: application/json", f"content-length: {len(body)}", "", ""]
            assert parts.hostname is not None
            assert parts.port is not None
            self._servers.append(((parts.hostname, parts.port), "\r\n".join(lines).encode() + body))
        # A whole answer is read as it is, so that what it says is found where it stands.
        self._end = b"[DONE]" if b'"stream": true' in body else b'"usage"'
        self._epoll = select.epoll()
        self._calls: dict[int, Call] = {}
        self._idle: list[Call] = []
        self._made = 0
        self.outcome = Outcome()

    def callers(self, count: int, *, seconds: float) -> None:
        """Let `count` callers call as fast as they are answered; those under way at the end finish."""
        until = time.perf_counter() + seconds
        for _ in range(count):
            self._begin(self._connection(), time.perf_counter())
        while self._calls_under_way:
            for call in self._wait(LATE_S):
                now = time.perf_counter()
                if now < until:
                    self._begin(call, now)
                else:
                    self._idle.append(call)

    def rate(self, per_s: float, *, seconds: float) -> None:
        """Make `per_s` calls a second, each at its instant, whether or not earlier ones are answered."""
        first = time.perf_counter() + 0.05
        due = deque(first + number / per_s for number in range(int(per_s * seconds)))
        while due or self._calls_under_way:
            pause_s = due[0] - time.perf_counter() if due else LATE_S
            self._idle += self._wait(max(pause_s, 0))
            now = time.perf_counter()
            while due and due[0] <= now:
                self._begin(self._idle.pop() if self._idle else self._connection(), due.popleft())

    def hold(self, count: int) -> None:
        """Open `count` streams, say so when each has its first byte, and read them to their end."""
        for _ in range(count):
            self._begin(self._connection(), time.perf_counter())
            self._wait(0)
        until = time.perf_counter() + LATE_S
        while not all(call.first for call in self._calls.values()) and time.perf_counter() < until:
            self._idle += self._wait(1)
        sys.stdout.write(json.dumps({"held": self._calls_under_way}) + "\n")
        sys.stdout.flush()
        while self._calls_under_way:
            self._idle += self._wait(LATE_S)

    @property
    def _calls_under_way(self) -> int:
        return len(self._calls) - len(self._idle)

    def _connection(self) -> Call:
        server, request = self._servers[self._made % len(self._servers)]
        self._made += 1
        call = Call(server, request)
        self._calls[call.socket.fileno()] = call
        self._epoll.register(call.socket.fileno(), select.EPOLLIN)
        return call

    def _begin(self, call: Call, due: float) -> None:
        try:
            call.begin(due, self._end)
        except ConnectionError:
            self.outcome.errors += 1
            self._drop(call)

    def _wait(self, pause_s: float) -> list[Call]:
        """Read what arrives within `pause_s`; return the connections that are free for another call."""
        if pause_s:  # Finer than epoll's own timeout.
            select.select((self._epoll.fileno(),), (), (), pause_s)
        ready = self._epoll.poll(0)
        if not ready and pause_s >= LATE_S:
            self.outcome.errors += self._calls_under_way
            raise TimeoutError(f"{self._calls_under_way} calls had no answer for {LATE_S} s.")
        free: list[Call] = []
        for number, _ in ready:
            call = self._calls[number]
            try:
                data = call.socket.recv(_READ_BYTES)
            except ConnectionError:
                data = b""
            if not data:
                self._lost(call)
                continue
            now = time.perf_counter()
            if call.read(data, now):
                self._ended(call, now)
                free.append(call)
        return free

    def _ended(self, call: Call, now: float) -> None:
        if not call.ok:
            self.outcome.errors += 1
            return
        self.outcome.took_s.append(now - call.due)
        self.outcome.first_s.append(call.first - call.due)

    def _lost(self, call: Call) -> None:
        """Forget a connection that its server closed: an error where an answer was under way."""
        self._drop(call)
        if call.end:
            self.outcome.errors += 1
        else:
            self._idle.remove(call)

    def _drop(self, call: Call) -> None:
        del self._calls[call.socket.fileno()]
        call.socket.close()


def main() -> None:
    """Read the request body from standard input, run the load, write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", action="append", required=True, help="More than one take turns.")
    parser.add_argument("--header", action="append", default=[], help="A header line of each request.")
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--rate", type=float, default=0, help="Calls a second.")
    parser.add_argument("--callers", type=int, default=0, help="Callers that call again when answered.")
    parser.add_argument("--hold", type=int, default=0, help="Streams to open and to hold.")
    arguments = parser.parse_args()
    load = Load(arguments.url, arguments.header, sys.stdin.buffer.read())
    began = time.perf_counter()
    if arguments.hold:
        load.hold(arguments.hold)
    elif arguments.rate:
        load.rate(arguments.rate, seconds=arguments.seconds)
    else:
        load.callers(arguments.callers, seconds=arguments.seconds)
    load.outcome.elapsed_s = time.perf_counter() - began
    sys.stdout.write(load.outcome.as_json() + "\n")


if __name__ == "__main__":
    main()
