"""A deadline for the head of each HTTP request: uvicorn has none, so that connections which send nothing, or a byte now and then, would stay for ever.

They count against ``limit_concurrency``: without a deadline, as many of them as that would shut everybody else out (ASVS 5.0, 4.2; "slowloris").
"""

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS: Final = 10.0


class DeadlinedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 on h11, which drops a connection whose request head is not whole in time. Idle ones between requests are uvicorn's to end."""

    head_seconds = HEAD_SECONDS
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect the first head from now on."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that is still not whole keeps the deadline that it had."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.head_seconds, self._drop)

    def _drop(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.abort()

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
