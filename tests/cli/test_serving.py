"""What `serve` and `up` listen on."""

from __future__ import annotations

import asyncio
import socket

from orchestrator.cli.serving import listen

WAIT_SECONDS = 30


def test_small_parts_of_an_answer_are_sent_at_once() -> None:
    """Headers and body are two writes: where the kernel may collect them, each answer comes up to 40 ms late."""
    assert asyncio.run(_nodelay_of_a_connection()) != 0


async def _nodelay_of_a_connection() -> int:
    """Serve one connection as the server does, and return the option that it got."""
    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted: socket.socket = writer.get_extra_info("socket")
        found.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with asyncio.timeout(WAIT_SECONDS), await asyncio.start_server(look, sock=listen("127.0.0.1", 0)) as server:
        host, port = server.sockets[0].getsockname()
        _, mine = await asyncio.open_connection(host, port)
        nodelay = await found
        mine.close()
        return nodelay
