"""What the API's and the console's guards have in common: an answer passed on with security headers, its status, and the route by its template."""

from collections.abc import Mapping

from starlette.types import Message, Scope, Send


class GuardedSend:
    """Sends an answer on, with the headers that it does not set itself. ``status`` is 0 until it has begun."""

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        """Take where it goes, and what every answer carries."""
        self.status = 0
        self._send = send
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, message: Message) -> None:
        """Send one message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            known = {name.lower() for name, _ in message["headers"]}
            extra = [header for header in self._headers if header[0] not in known]
            message = {**message, "headers": [*message["headers"], *extra]}
        await self._send(message)


def holds_nul(scope: Scope) -> bool:
    """Tell whether path or query hold a NUL: nothing has one in its name, and PostgreSQL takes none in a text."""
    return "\x00" in scope["path"] or b"%00" in scope["query_string"]


def name_route(scope: Scope) -> str:
    """Return a request's route as its template: a path holds ids, and an invitation's secret."""
    return getattr(scope.get("route"), "path", "unmatched")
