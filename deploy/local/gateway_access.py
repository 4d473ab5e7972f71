"""A record system's and a duty worker's view of a gateway: its local API, with the agency's token."""

from typing import Any

import httpx

from deploy.local.sample_set import SampleDocument
from schemas.errors import DependencyUnavailable, Rejected


class GatewayAccess:
    """One agency's way into its gateway on this machine. Every call has a timeout of 30 seconds.

    Raises:
        DependencyUnavailable: the gateway does not answer, or answers that it cannot now.
    """

    def __init__(self, agency: str, url: str, token: str) -> None:
        """Open a client; nothing is asked yet."""
        self.agency = agency
        self.url = url
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30.0)

    def hand_over(self, document: SampleDocument) -> tuple[int, dict[str, Any]]:
        """POST a document as its record system would; return the status and the answer (202, or a problem)."""
        response = self._ask(
            "POST", "/referrals", content=document.path.read_bytes(), headers={"Content-Type": document.media_type}
        )
        return response.status_code, response.json()

    def describe_referral(self, referral_id: str) -> dict[str, Any]:
        """Return what became of a referral that this agency sent."""
        return self._get(f"/referrals/{referral_id}")

    def list_inbox(self) -> list[dict[str, Any]]:
        """Return every delivery in the inbox, page by page."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = self._get("/inbox", params={"limit": 200} | ({"after": after} if after else {}))
            found += page["deliveries"]
            after = page.get("next")
            if not after:
                return found

    def open_delivery(self, delivery_id: str) -> dict[str, Any]:
        """Return a delivery with its content, as the inbox shows it."""
        return self._get(f"/inbox/{delivery_id}")

    def is_ready(self) -> bool:
        """Return whether the gateway answers."""
        try:
            return self._client.get("/healthz", timeout=2.0).is_success
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _get(self, path: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        response = self._ask("GET", path, params=params)
        if not response.is_success:
            raise Rejected(f"the gateway answered {response.status_code}", field=path)
        answer: dict[str, Any] = response.json()
        return answer

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **options)
        except httpx.HTTPError:
            raise DependencyUnavailable(f"the gateway of {self.agency} does not answer") from None
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise DependencyUnavailable(f"the gateway of {self.agency} cannot do this now")
        return response
