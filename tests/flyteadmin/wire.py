"""The wire between a client and the double's server: TCP, which can be cut."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Wire:
    """Forwards what comes in at `port` to a server on the loopback.

    `connections` has the client's end of each connection by the address that the server sees.
    """

    port: int
    loop: asyncio.AbstractEventLoop
    connections: dict[int, asyncio.WriteTransport] = field(default_factory=dict)

    def cut(self, peer: str) -> None:
        """Break the connection of a peer, `ipv4:127.0.0.1:<port>`, with what is still in it."""
        port = int(peer.rpartition(":")[2])
        gone = threading.Event()

        def abort() -> None:
            if connection := self.connections.get(port):
                connection.abort()
            gone.set()

        self.loop.call_soon_threadsafe(abort)
        gone.wait()


@contextmanager
def wire(target: int) -> Iterator[Wire]:
    """Forward a port of the loopback, which was free, to the port `target`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    found = Wire(0, loop)
    try:
        server = asyncio.run_coroutine_threadsafe(_serve(found, target), loop).result()
        found.port = server.sockets[0].getsockname()[1]
        try:
            yield found
        finally:
            asyncio.run_coroutine_threadsafe(_end(found, server), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _serve(wire: Wire, target: int) -> asyncio.Server:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inward, outward = await asyncio.open_connection("127.0.0.1", target)
        port = outward.get_extra_info("sockname")[1]
        wire.connections[port] = writer.transport
        try:
            # The first end that closes closes the other.
            pumps = [_pump(reader, outward), _pump(inward, writer)]
            await asyncio.wait(map(asyncio.ensure_future, pumps), return_when="FIRST_COMPLETED")
        finally:
            del wire.connections[port]
            writer.transport.abort()
            outward.transport.abort()

    return await asyncio.start_server(connect, "127.0.0.1", 0)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


async def _end(wire: Wire, server: asyncio.Server) -> None:
    server.close()
    for connection in wire.connections.values():
        connection.abort()
    mine = asyncio.current_task()
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not mine))
