"""The audit over the hub's API, for a person with a key of their own."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, cast
from urllib.parse import quote, urlencode

import httpx

from deploy.authority.hub_link import HubLink, HubRefused
from deploy.authority.officers import Officer
from deploy.authority.people import Approver
from schemas.canonical import canonical_bytes
from schemas.errors import DependencyUnavailable


class AuditLink(HubLink):
    """One connection to the hub's API for one person, who is set once their key is open."""

    person: Approver

    def search(self, asked: dict[str, Any], *, cursor: str | None, limit: int) -> dict[str, Any]:
        """Return a page of events."""
        return self._get("events", asked | {"cursor": cursor, "limit": limit})

    def access(self, asked: dict[str, Any], *, cursor: str | None, limit: int) -> dict[str, Any]:
        """Return a page of who did or looked at what."""
        return self._get("access", asked | {"cursor": cursor, "limit": limit})

    def access_report(self, *, since: datetime, until: datetime) -> dict[str, Any]:
        """Return use by person in a period, and what of it is unusual."""
        return self._get("access/report", {"since": since.isoformat(), "until": until.isoformat()})

    def show(self, searched_id: str) -> dict[str, Any]:
        """Return a referral's view."""
        return self._get(f"referrals/{quote(searched_id, safe='')}", {})

    def export(self, asked: dict[str, Any], form: str, write: Callable[[bytes], Any]) -> None:
        """Write the file with what a search finds.

        Raises:
            HubRefused: the hub refuses it.
            DependencyUnavailable: it does not answer, or stopped before the end: what was written is not whole.
        """
        path = _write_path("export", asked | {"format": str(form)})
        try:
            with self._client.stream("GET", path, headers=self._authorize(self._caller())) as response:
                if response.is_error:
                    raise HubRefused(f"the hub answers {response.status_code}", field="/v1/audit/export")
                for piece in response.iter_bytes():
                    write(piece)
        except httpx.HTTPError as error:
            raise DependencyUnavailable(
                f"the hub stopped before the end ({type(error).__name__}); the file is not whole", field="hub"
            ) from None

    def prove(self, asked: dict[str, Any]) -> bytes:
        """Return the file of proofs of what a search finds."""
        return canonical_bytes(self._get("proofs", asked)) + b"\n"

    def prove_position(self, position: int) -> bytes:
        """Return the file of proof of one event."""
        return canonical_bytes(self._get(f"proofs/{position}", {})) + b"\n"

    def _get(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        return self._call("GET", _write_path(path, asked), officer=self._caller())

    def _caller(self) -> Officer:
        # A token needs an id and an API key, whoever it is.
        return cast("Officer", self.person)


def _write_path(path: str, asked: dict[str, Any]) -> str:
    given = {name: value for name, value in asked.items() if value not in (None, "", (), [])}
    query = urlencode(given, doseq=True)
    return f"/v1/audit/{path}?{query}" if query else f"/v1/audit/{path}"
