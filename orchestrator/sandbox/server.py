"""Runs a sandbox: a socket, an event loop in a thread of its own, and what is kept in the state directory. Does not
configure logging and does not touch uvicorn's own server, so it can live beside another one in the same process.
"""

import asyncio
import fcntl
import hashlib
import logging
import os
import signal
import socket
import sys
import threading
from asyncio import CancelledError
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import uvicorn
from h11 import LocalProtocolError
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from orchestrator.sandbox.app import API, App
from orchestrator.sandbox.fields import SandboxConfigError
from orchestrator.sandbox.ledger import DATABASE
from orchestrator.sandbox.options import SandboxOptions
from orchestrator.sandbox.store import Store
from orchestrator.sandbox.studio import Studio
from orchestrator.sandbox.wire import TRANSPORT
from orchestrator.sandbox.world import World

log = logging.getLogger("orchestrator.sandbox")
LOCK = "sandbox.lock"
KEEP_ALIVE_SECONDS = 60
BACKLOG = 1024
STOP_SECONDS = 10.0
# uvicorn writes of every caller that misbehaves or leaves at a bad moment; those are what the sandbox is for. What is
# left over is a bug of ours and is shown.
_http_log = logging.getLogger("orchestrator.sandbox.http")
_http_log.setLevel(logging.ERROR)
_http_log.addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], (CancelledError, LocalProtocolError)))
)


class _Protocol(H11Protocol):
    """uvicorn's HTTP, which also tells the application its transport."""

    def __init__(self, config: uvicorn.Config, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config, state, {}, loop)
        self.logger = _http_log
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self.app = _WithTransport(self.config.loaded_app, transport)


class _WithTransport:
    def __init__(self, app: ASGIApp, transport: asyncio.Transport) -> None:
        self._app = app
        self._transport = transport

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, TRANSPORT: self._transport}, receive, send)


class RunningSandbox:
    """A sandbox that is listening. `moved_from` is the kept port that was taken by someone else, if so."""

    def __init__(self, options: SandboxOptions) -> None:
        self._held = ExitStack()
        with ExitStack() as held:
            held.callback(_Lock(options.state_dir).release)
            self._world, self._store = _open(options)
            held.callback(self._store.close)
            self._socket, self.moved_from = _listen(options, self._store)
            held.callback(self._socket.close)
            self._held = held.pop_all()
        self.port: int = self._socket.getsockname()[1]
        self.seed = self._world.seed
        self.host_port = f"{options.host}:{self.port}"
        self.base_url = f"http://{self.host_port}{API}"
        self.control_url = f"http://{self.host_port}/_sandbox"
        self._store.keep(port=self.port)
        self._ready = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Closes every connection and ends the thread; calling it again does nothing."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:  # of listening: told to whoever is starting
            self._failure = error
        finally:
            self._held.close()
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        studio, state = Studio(), ServerState()
        config = uvicorn.Config(
            App(self._world, studio),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        config.load()
        server = await self._loop.create_server(
            lambda: _Protocol(config, state, self._loop), sock=self._socket, backlog=BACKLOG
        )
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task in list(state.tasks):
            task.cancel()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        studio.close()


def start(options: SandboxOptions) -> RunningSandbox:
    """Starts a sandbox in a thread of this process and returns once it is listening. SandboxConfigError names the
    option that is wrong, a port that is taken or a state directory that is in use.
    """
    return RunningSandbox(options)


def serve(options: SandboxOptions) -> None:
    """Runs a sandbox until SIGINT or SIGTERM and says on stdout where it listens. For the main thread only."""
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with start(options) as running:
            sys.stdout.write(f"listening on {running.base_url}\n")
            sys.stdout.flush()
            stopping.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Lock:
    """Keeps a second sandbox out of a state directory; the system frees it when its owner dies."""

    def __init__(self, state_dir: Path | None) -> None:
        self._file: int | None = None
        if state_dir is None:
            return
        state_dir.mkdir(parents=True, exist_ok=True)
        self._file = os.open(state_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            raise SandboxConfigError(f"state_dir: {state_dir} is in use by another sandbox") from error

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _open(options: SandboxOptions) -> tuple[World, Store]:
    script = options.load_script()
    digest = hashlib.sha256(options.script.read_bytes()).hexdigest() if options.script is not None else ""
    store = Store(options.state_dir / DATABASE if options.state_dir is not None else None)
    kept: int | None = store.named("seed")
    asked = options.seed if options.seed is not None else script.seed
    if kept is not None and asked is not None and asked != kept:
        store.close()
        raise SandboxConfigError(f"seed: {options.state_dir} was made with the seed {kept}, not {asked}")
    seed = next((seed for seed in (asked, kept) if seed is not None), 0)
    return World(store, seed=seed, speed=options.speed, script=script, script_digest=digest), store


def _listen(options: SandboxOptions, store: Store) -> tuple[socket.socket, int | None]:
    """The listening socket, and the kept port when that could not be had again."""
    kept: int = 0 if options.port else store.named("port", 0)
    if kept:
        try:
            return _bound(options.host, kept), None
        except OSError:
            log.warning("event=sandbox_port_moved port=%d is taken, using a free one; old links lead nowhere", kept)
    try:
        return _bound(options.host, options.port), kept or None
    except OSError as error:
        raise SandboxConfigError(f"port: {options.host}:{options.port} cannot be used: {error.strerror}") from error


def _bound(host: str, port: int) -> socket.socket:
    family: Any = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's delay off; without, every answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.settimeout(0)
    except OSError:
        listener.close()
        raise
    return listener
