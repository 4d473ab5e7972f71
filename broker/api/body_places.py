"""Reading bodies from callers who have not shown who they are: few at once, and a slow one never keeps a quick one out."""

import asyncio

from fastapi import Request

from broker.api.guard import read_body
from schemas.errors import DependencyUnavailable

PLACES = 8


class PlaceTaken(DependencyUnavailable):
    """The body came so slowly that its place went to a newer request."""

    code = "another-is-publishing"
    public_message = "Too many are publishing at once. Try again in a minute."


class BodyPlaces:
    """So many bodies are read at once; when all places are taken, the one that has been reading longest gives its up.

    Whoever sends in earnest is read in less than a second; whoever stalls on purpose is the first to go.
    """

    def __init__(self, places: int = PLACES) -> None:
        """Make so many places."""
        self._places = places
        self._reading: dict[asyncio.Task[bytes], None] = {}
        self._evicted: set[asyncio.Task[bytes]] = set()

    async def read(self, request: Request, *, max_bytes: int) -> bytes:
        """Read a body of at most ``max_bytes``.

        Raises:
            PlaceTaken: newer requests needed the place.
            TooLarge, MalformedMessage: as ``read_body`` says.
        """
        while len(self._reading) >= self._places:
            oldest = next(iter(self._reading))
            del self._reading[oldest]
            self._evicted.add(oldest)
            oldest.cancel()
        task = asyncio.create_task(read_body(request, max_bytes=max_bytes))
        self._reading[task] = None
        try:
            return await task
        except asyncio.CancelledError:
            if task in self._evicted:
                raise PlaceTaken(field="body") from None
            task.cancel()
            raise
        finally:
            self._reading.pop(task, None)
            self._evicted.discard(task)
