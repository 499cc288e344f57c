"""A bare provider: the four calls that a media task needs and nothing else, far cheaper a request than any client.

It keeps to the wire format of the real one (zai-api.md 3.4 and 4) and remembers when each task was taken, done and first
noticed. For faults, media and checks there is the sandbox; this one is a yardstick. One process, so that limits hold.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import secrets
import time
import zlib
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

PREFIX = b"/api/paas/v4"
SUBMIT_PATHS = (PREFIX + b"/videos/generations", PREFIX + b"/async/images/generations")
RESULT_PATH = PREFIX + b"/async-result/"
CONTROL_PATH = b"/_stub/report"
FILES_PATH = b"/files/"
MOST_GAPS = 1_000_000  # 8 MB; no benchmark asks more often in one run
EVERY_MODEL_ELSE = "*"


@dataclass(frozen=True)
class StubOptions:
    """How tasks behave: done after `polls` questions when that is set, else after `seconds` +- the share `jitter`.

    `limits` is tasks in flight per model, `*` for all that are not named; without one there is none.
    """

    seconds: float = 2.0
    jitter: float = 0.0
    polls: int | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    seed: int = 1


def draw_seconds(options: StubOptions, count: int) -> list[float]:
    """Return what the first `count` tasks take, in the order in which the provider takes them."""
    rng = Random(options.seed)
    return [_draw(options, rng) for _ in range(count)]


def _draw(options: StubOptions, rng: Random) -> float:
    return options.seconds * rng.uniform(1 - options.jitter, 1 + options.jitter)


@dataclass(slots=True)
class Task:
    """One task. Times are the machine's monotonic clock, which every process shares."""

    id: str
    model: str
    taken_at: float
    done_at: float | None
    polls_left: int
    asked_at: float
    noticed_at: float | None = None


class Provider:
    """The tasks and what was counted about them."""

    def __init__(self, options: StubOptions) -> None:
        self._options = options
        self._rng = Random(options.seed)
        self._tasks: dict[str, Task] = {}
        self._running: dict[str, list[Task]] = {}
        self._gaps = array("d")
        self._counts: Counter[str] = Counter()
        self._most: Counter[str] = Counter()
        self.files_url = ""

    def submit(self, body: bytes) -> tuple[int, object]:
        """Take a task, or refuse it with 1302 while the model's slots are full."""
        self._counts["submits"] += 1
        sent = json.loads(body)
        now, model = time.monotonic(), str(sent.get("model", ""))
        running = self._find_running(model, now)
        limit = self._options.limits.get(model, self._options.limits.get(EVERY_MODEL_ELSE))
        if limit is not None and len(running) >= limit:
            self._counts["refused"] += 1
            return 429, {"error": {"code": "1302", "message": "too many requests in flight"}}
        task = self._make_task(model, now)
        running.append(task)
        self._most[model] = max(self._most[model], len(running))
        request_id = sent.get("request_id") or task.id
        return 200, {"id": task.id, "request_id": request_id, "model": model, "task_status": "PROCESSING"}

    def ask(self, task_id: str) -> tuple[int, object]:
        """Answer a question about a task."""
        self._counts["polls"] += 1
        task = self._tasks.get(task_id)
        if task is None:
            return 400, {"error": {"code": "1214", "message": "no such task"}}
        now = time.monotonic()
        if len(self._gaps) < MOST_GAPS and task.noticed_at is None:
            self._gaps.append(now - task.asked_at)
        task.asked_at = now
        if not self._is_done(task, now):
            return 200, {"id": task_id, "model": task.model, "request_id": task_id, "task_status": "PROCESSING"}
        if task.noticed_at is None:
            task.noticed_at = now
            self._counts["noticed"] += 1
        link = {"url": f"{self.files_url}{task_id}.png"}
        answer = {"id": task_id, "model": task.model, "request_id": task_id, "task_status": "SUCCESS"}
        return 200, {**answer, "video_result": [link], "image_result": [link]}

    def report(self, *, is_whole: bool) -> dict[str, object]:
        """Return the counters; when whole, also every task's times and every gap between two questions about one."""
        counted: dict[str, object] = {"counts": dict(self._counts), "most_in_flight": dict(self._most)}
        if is_whole:
            rows = [[task.taken_at, task.done_at, task.noticed_at] for task in self._tasks.values()]
            counted |= {"tasks": rows, "gaps": self._gaps.tolist()}
        return counted

    def forget_gaps(self) -> None:
        """Begin the list of gaps anew: what came before was warming up."""
        self._gaps = array("d")

    def _make_task(self, model: str, now: float) -> Task:
        polls = self._options.polls
        done_at = now + _draw(self._options, self._rng) if polls is None else None
        task = Task("20260101000000" + secrets.token_hex(8), model, now, done_at, polls or 0, now)
        self._tasks[task.id] = task
        self._counts["taken"] += 1
        return task

    def _find_running(self, model: str, now: float) -> list[Task]:
        """Only a limit makes it worth looking through what runs."""
        running = self._running.setdefault(model, [])
        if self._options.limits:
            running[:] = [task for task in running if task.done_at is None or task.done_at > now]
        return running

    def _is_done(self, task: Task, now: float) -> bool:
        if task.done_at is None:
            task.polls_left -= 1
            if task.polls_left > 0:
                return False
            task.done_at = now
        return task.done_at <= now


class Connection(asyncio.Protocol):
    """One client's connection: HTTP/1.1 with kept connections, several requests in one packet, one in several."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answers = []
        while (answer := self._take_one()) is not None:
            answers.append(answer)
        if answers and self._transport is not None:
            self._transport.write(b"".join(answers))

    def _take_one(self) -> bytes | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._buffer[:end])
        whole = end + 4 + _length_of(head)
        if len(self._buffer) < whole:
            return None
        body = bytes(self._buffer[end + 4 : whole])
        del self._buffer[:whole]
        method, path, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if method == b"GET" and path.startswith(FILES_PATH):
            return encode(200, PICTURE, "image/png")
        status, value = self._answer(method, path, body)
        return encode(status, json.dumps(value, separators=(",", ":")).encode(), "application/json; charset=UTF-8")

    def _answer(self, method: bytes, path: bytes, body: bytes) -> tuple[int, object]:
        if method == b"GET" and path.startswith(RESULT_PATH):
            return self._provider.ask(path[len(RESULT_PATH) :].decode("ascii"))
        if method == b"POST" and path in SUBMIT_PATHS:
            return self._provider.submit(body)
        if path.startswith(CONTROL_PATH):
            if method == b"DELETE":
                self._provider.forget_gaps()
            return 200, self._provider.report(is_whole=path.endswith(b"?whole"))
        return 404, {"error": {"code": "1222", "message": "no such call"}}


def _length_of(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(b"\r\ncontent-length:")
    return int(lowered[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def encode(status: int, body: bytes, content_type: str) -> bytes:
    """Return a whole answer."""
    head = f"HTTP/1.1 {status} -\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("ascii") + body


def _draw_picture() -> bytes:
    """Return the smallest PNG that a reader takes for whole: one grey pixel."""
    chunks = [(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0"), (b"IDAT", zlib.compress(b"\0\x80")), (b"IEND", b"")]
    parts = [len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4) for name, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


PICTURE = _draw_picture()


async def serve(options: StubOptions) -> None:
    """Listen on a free port of the loopback, say which on stdout, and serve until killed."""
    provider = Provider(options)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(provider), "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    provider.files_url = f"http://127.0.0.1:{port}{FILES_PATH.decode()}"
    print(port, flush=True)
    gc.freeze()
    await server.serve_forever()


def main() -> None:
    """Read the options that `running_stub` hands over."""
    parser = argparse.ArgumentParser()
    parser.add_argument("options", type=json.loads, help="the fields of StubOptions as a JSON object")
    asyncio.run(serve(StubOptions(**parser.parse_args().options)))


if __name__ == "__main__":
    main()
