"""The fast simulated provider: answers that are ready to be sent, so that what is measured is in front of it.

Run as a program; one epoll loop without threads. It speaks `chat/completions` over kept connections, whole or
as a stream of `CHUNKS` writes, `--chunk-ms` apart. A body with `HOLD` in it gets a stream that stands still
after its first chunk until `/_sim/release` is asked for; `/_sim/stats` says what was answered to which key.
Rule 1: an answer is tallied before its last write, so a client that has read it finds it counted.
Rule 2: every chunk is a write of its own; a stream whose client leaves is tallied as broken off.
"""

from __future__ import annotations

import argparse
import json
import re
import select
import signal
import socket
import sys
import time
from collections import deque
from functools import lru_cache

from costplus.devprovider.ask import Ask, Counts
from costplus.devprovider.dialect import Reply
from costplus.devprovider.replies_openai import CHAT

CHUNKS = 50
HOLD = "[[hold]]"
MODEL = "gpt-4o-mini"
INPUT_TOKENS = 92
OUTPUT_TOKENS = CHUNKS - 3  # Besides: the opening, the end, and usage with [DONE].

_READ_BYTES = 1 << 16
_HOLD = HOLD.encode()
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked")
_KEY = re.compile(rb"(?i)\r\nauthorization: *bearer +([^\r]+)")
_JSON_HEAD = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def whole(status: int, body: bytes) -> bytes:
    """Return a whole response."""
    return _JSON_HEAD % (status, b"OK" if status == 200 else b"Refused", len(body)) + body


def answers() -> tuple[bytes, list[bytes]]:
    """Return the whole answer, and the streamed one as its writes, with their heads."""
    counts = Counts(INPUT_TOKENS, 0, 0, 0, OUTPUT_TOKENS, 0, False)
    ask = Ask(MODEL, 0, 2, "", stream=True)
    reply = Reply(ask, counts, b"bench", int(time.time()))
    events, _ = CHAT.events(reply)
    parts = [*events[:-2], events[-2] + events[-1]]
    assert len(parts) == CHUNKS
    writes = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
    writes[0] = _STREAM_HEAD + writes[0]
    writes[-1] += b"0\r\n\r\n"
    return whole(200, CHAT.whole(reply)), writes


class Head:
    """What a request's head says; heads repeat, so each is read once."""

    __slots__ = ("chunked", "key", "length", "posts", "target")

    def __init__(self, head: bytes) -> None:
        method, target, _ = head.split(b" ", 2)
        length, key = _LENGTH.search(head), _KEY.search(head)
        self.posts = method == b"POST"
        self.target = target.decode()
        self.length = int(length[1]) if length else 0
        self.chunked = _CHUNKED.search(head) is not None
        self.key = key[1].decode() if key else ""


read_head = lru_cache(maxsize=4096)(Head)


class Connection:
    """One client: what it sent of its next request, and which write of its stream comes next."""

    __slots__ = ("at", "due", "received", "socket", "tally")

    def __init__(self, socket: socket.socket) -> None:
        self.socket = socket
        self.received = b""
        self.at = 0  # The next write of the stream; 0 where none is open.
        self.due = 0.0
        self.tally: Tally | None = None

    def send(self, data: bytes) -> None:
        """Send all of it; a client that does not read its few kilobytes has gone."""
        if self.socket.send(data) < len(data):
            raise ConnectionError("The client does not read.")

    def next_request(self) -> tuple[Head, bytes] | None:
        """Take the next whole request from what was received, or None where it is not all here."""
        received = self.received
        end = received.find(b"\r\n\r\n") + 4
        if end < 4:
            return None
        head = read_head(received[: end - 2])
        if not head.chunked:
            last = end + head.length
            if len(received) < last:
                return None
        else:
            last = received.find(b"0\r\n\r\n", end) + 5
            if last < 5:
                return None
        self.received = received[last:]
        return head, received[end:last]


class Tally:
    """What was answered to one key."""

    __slots__ = ("answered", "broken")

    def __init__(self) -> None:
        self.answered = 0
        self.broken = 0


class Provider:
    """The loop: accepts, reads, answers, and sends each open stream's next chunk when it is due."""

    def __init__(self, listening: socket.socket, *, chunk_s: float) -> None:
        self._listening = listening
        self._chunk_s = chunk_s
        self._whole, self._writes = answers()
        self._epoll = select.epoll()
        self._epoll.register(listening.fileno(), select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._streams: deque[Connection] = deque()  # By when their next chunk is due.
        self._held: list[Connection] = []
        self._tallies: dict[str, Tally] = {}

    def serve(self) -> None:
        """Serve until a signal raises."""
        while True:
            if self._streams:
                pause_s = self._streams[0].due - time.perf_counter()
                if pause_s > 0:  # Finer than epoll's own timeout.
                    select.select((self._epoll.fileno(),), (), (), pause_s)
                ready = self._epoll.poll(0)
            else:
                ready = self._epoll.poll()
            for number, _ in ready:
                if number in self._connections:
                    self._read(self._connections[number])
                else:
                    self._accept()
            if self._streams:
                self._send_due()

    def _accept(self) -> None:
        accepted, _ = self._listening.accept()
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[accepted.fileno()] = Connection(accepted)
        self._epoll.register(accepted.fileno(), select.EPOLLIN)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.received += data
        try:
            while not connection.at and (request := connection.next_request()) is not None:
                self._answer(connection, *request)
        except ConnectionError:
            self._close(connection)

    def _answer(self, connection: Connection, head: Head, body: bytes) -> None:
        if head.target.startswith("/_sim/"):
            connection.send(whole(200, self._about_itself(head.target)))
            return
        if not (head.posts and head.target.endswith("/chat/completions") and head.key):
            connection.send(whole(404, b'{"error":{"message":"This provider only chats, with a key."}}'))
            return
        tally = self._tallies.get(head.key)
        if tally is None:
            tally = self._tallies[head.key] = Tally()
        if b'"stream":true' not in body and b'"stream": true' not in body:
            tally.answered += 1
            connection.send(self._whole)
            return
        connection.tally = tally
        connection.at = 1
        connection.due = time.perf_counter() + self._chunk_s
        (self._held if _HOLD in body else self._streams).append(connection)
        connection.send(self._writes[0])

    def _send_due(self) -> None:
        now = time.perf_counter()
        streams, writes = self._streams, self._writes
        while streams and streams[0].due <= now:
            connection = streams.popleft()
            at = connection.at
            if not at:
                continue  # It was closed meanwhile.
            assert connection.tally is not None
            is_last = at == len(writes) - 1
            if is_last:
                connection.tally.answered += 1
                connection.at = 0
            else:
                connection.at = at + 1
                connection.due += self._chunk_s
                streams.append(connection)
            try:
                connection.send(writes[at])
            except (ConnectionError, BlockingIOError):
                if is_last:
                    connection.tally.answered -= 1
                    connection.tally.broken += 1
                self._close(connection)

    def _close(self, connection: Connection) -> None:
        if connection.at:
            connection.at = 0
            assert connection.tally is not None
            connection.tally.broken += 1
        del self._connections[connection.socket.fileno()]
        connection.socket.close()  # The epoll set forgets it by itself.

    def _about_itself(self, target: str) -> bytes:
        if target == "/_sim/release":
            now = time.perf_counter()
            for number, connection in enumerate(self._held):
                connection.due = now + number * self._chunk_s / 10  # Not all of them at once.
                self._streams.append(connection)
            self._held.clear()
        tallies = {
            key: {
                "answered": tally.answered,
                "broken": tally.broken,
                "tokens": tally.answered * (INPUT_TOKENS + OUTPUT_TOKENS),
            }
            for key, tally in self._tallies.items()
        }
        return json.dumps(tallies).encode()


def main() -> None:
    """Serve on a free port until SIGTERM; say on standard output where."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunk-ms", type=float, default=1, help="Between two chunks of a stream.")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(2048)
        ready = {"event": "ready", "url": f"http://127.0.0.1:{listening.getsockname()[1]}"}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        Provider(listening, chunk_s=arguments.chunk_ms / 1000).serve()


if __name__ == "__main__":
    main()
