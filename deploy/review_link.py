"""How a person reviews: the hub's API over TLS with their own token, and approvals signed with their own key."""

from collections.abc import Mapping
from typing import Any, cast

from deploy.authority.hub_link import HubLink
from deploy.authority.officers import Officer
from deploy.authority.people import Approver
from schemas.canonical import canonical_bytes


class ReviewLink(HubLink):
    """One connection to the hub's API for one approver."""

    def list_reviews(self, approver: Approver, state: str = "open") -> list[dict[str, Any]]:
        """Return what waits, the most urgent first."""
        found: list[dict[str, Any]] = self._call("GET", f"/v1/reviews?state={state}", officer=_as_caller(approver))[
            "reviews"
        ]
        return found

    def claim(self, approver: Approver, message_id: str, delivery_id: str) -> None:
        """Take a hold on oneself."""
        self._call("POST", f"/v1/reviews/{message_id}/{delivery_id}/claim", officer=_as_caller(approver))

    def hand_in(self, approver: Approver, approval: bytes) -> str:
        """Hand in a signed approval; return its digest in the register."""
        answer: Mapping[str, Any] = self._call("POST", "/v1/approvals", officer=_as_caller(approver), body=approval)
        return str(answer["object_digest"])

    def list_packs(self, approver: Approver) -> list[dict[str, Any]]:
        """Return the policy packs that are lodged with the hub, the one in force first."""
        found: list[dict[str, Any]] = self._call("GET", "/v1/policies", officer=_as_caller(approver))["packs"]
        return found

    def read_pack(self, approver: Approver, policy_digest: str) -> dict[str, Any]:
        """Return a lodged pack's files."""
        return self._call("GET", f"/v1/policies/{policy_digest}", officer=_as_caller(approver))

    def lodge_pack(self, approver: Approver, bundle: bytes) -> str:
        """Lodge a bundled policy pack; return its digest."""
        answer = self._call("POST", "/v1/policies", officer=_as_caller(approver), body=bundle)
        return str(answer["policy_digest"])

    def read_chronology(self, approver: Approver, token: str) -> dict[str, Any]:
        """Return who knew what of the child with this token; it uses up two people's approvals."""
        found: dict[str, Any] = self._call(
            "POST", "/v1/chronology", officer=_as_caller(approver), body=canonical_bytes({"token": token})
        )
        return found


def _as_caller(approver: Approver) -> Officer:
    # A token needs an id and an API key, whoever it is.
    return cast("Officer", approver)
