"""Many reviews that are in flight at once: all but their last byte is sent of each, then the last byte of all."""

import asyncio

from tests.serving import PATIENCE, Server

_AT_ONCE = 50
"""So many handshakes at a time: it is the reviews that are to be in flight, not these."""


async def answers(server: Server, path: str, body: bytes, count: int) -> list[bytes]:
    """Return the status line of each answer; fail where one doesn't come."""
    host, _, port = server.address.rpartition(":")
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {server.address}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    gate = asyncio.Semaphore(_AT_ONCE)

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with gate:
            return await asyncio.open_connection(host, int(port), ssl=server.context)

    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(body[-1:])
        try:
            return await asyncio.wait_for(reader.readline(), PATIENCE)
        finally:
            writer.close()

    connections = await asyncio.gather(*(connect() for _ in range(count)))
    for _, writer in connections:
        writer.write(head + body[:-1])
    return await asyncio.gather(*(end(*connection) for connection in connections))


def answered(server: Server, path: str, body: bytes, count: int) -> int:
    """Return how many of so many reviews at once are answered with status 200."""
    return sum(line.startswith(b"HTTP/1.1 200 ") for line in asyncio.run(answers(server, path, body, count)))
