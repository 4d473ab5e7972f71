"""A TCP proxy on loopback whose connections a test can cut, and whose bytes it can hold back."""

import asyncio
import contextlib


class CutProxy:
    """Forwards to ``target_port``. ``cut`` breaks every connection and refuses new ones until ``restore``."""

    def __init__(self, target_port: int) -> None:
        """Keep the target; nothing listens yet."""
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self.port = 0
        self.connections = 0

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Break every connection at once (RST) and refuse new ones."""
        self._refusing = True
        self.break_connections()

    def break_connections(self) -> None:
        """Break every connection at once; new ones are let in."""
        for writer in list(self._writers):
            writer.transport.abort()

    def restore(self) -> None:
        """Let connections in and bytes through again."""
        self._refusing = False
        self._flowing.set()

    def hold(self) -> None:
        """Hold every byte back, with connections open: a network that has gone silent."""
        self._flowing.clear()

    async def close(self) -> None:
        """Stop listening and end everything."""
        self._flowing.set()
        if self._server is not None:
            self._server.close()
        self.break_connections()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        for source, target in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pump(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError):  # either end may break at any time: that is what this is for
                while data := await reader.read(65536):
                    await self._flowing.wait()
                    writer.write(data)
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.close()
