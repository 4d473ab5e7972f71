"""A record system's and a duty worker's view of a gateway: its local API, with the agency's token."""

from dataclasses import dataclass
from typing import Any

import httpx

from deploy.local.sample_set import SampleDocument
from schemas.errors import DependencyUnavailable, Rejected


@dataclass(frozen=True, slots=True)
class ContactKey:
    """A named contact of an agency, with the key that opens the deliveries for that contact alone."""

    contact: str
    key: str


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
            "POST", "/referrals", content=document.read_bytes(), headers={"Content-Type": document.media_type}
        )
        return response.status_code, response.json()

    def describe_referral(self, referral_id: str) -> dict[str, Any]:
        """Return what became of a referral that this agency sent."""
        return self._get(f"/referrals/{referral_id}")

    def list_inbox(self, contact: ContactKey | None = None) -> list[dict[str, Any]]:
        """Return every delivery in the inbox, newest first, page by page; with a contact's key also those for that contact."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self._get(
                "/inbox", params={"limit": "200"} | ({"cursor": cursor} if cursor else {}), contact=contact
            )
            found += page["deliveries"]
            cursor = page.get("next_cursor")
            if not cursor:
                return found

    def open_delivery(self, delivery_id: str, contact: ContactKey | None = None) -> dict[str, Any]:
        """Return a delivery with its content, as the inbox shows it; opening it signs the ``opened`` receipt."""
        return self._get(f"/inbox/{delivery_id}", contact=contact)

    def send_receipt(self, delivery_id: str, state: str, contact: ContactKey | None = None) -> None:
        """Say what was done with a delivery: ``actioned`` or ``refused``."""
        path = f"/inbox/{delivery_id}/receipts"
        response = self._ask("POST", path, json={"state": state}, headers=_contact_headers(contact))
        if not response.is_success:
            raise Rejected(f"the gateway answered {response.status_code}", field=path)

    def is_ready(self) -> bool:
        """Return whether the gateway answers."""
        try:
            return self._client.get("/healthz", timeout=2.0).is_success
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _get(
        self, path: str, params: dict[str, str] | None = None, contact: ContactKey | None = None
    ) -> dict[str, Any]:
        response = self._ask("GET", path, params=params, headers=_contact_headers(contact))
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


def _contact_headers(contact: ContactKey | None) -> dict[str, str]:
    return {} if contact is None else {"Safelane-Contact": contact.contact, "Safelane-Contact-Key": contact.key}
