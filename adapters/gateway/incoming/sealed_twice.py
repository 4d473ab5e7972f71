"""One effect for each referral, whatever the hub says (DESIGN, Ids): the same revision sealed twice does not reach the case system twice.

A sender seals again only after a retryable rejection that the log proves. Where an earlier sealing was handed over here all the same, the log
contradicts itself, or its sender does: whatever the reason, one child does not become two cases.
"""

from adapters.gateway.incoming.inbox_model import SEALING_MIGRATIONS
from adapters.gateway.incoming.opening import DeliveryBinding
from adapters.gateway.incoming.received import ReceivedReferral
from adapters.gateway.store import GatewayStore
from schemas.errors import IntegrityBroken

DUPLICATE = "duplicate"
"""The reason code of the refusal that tells the sender."""


class SealedTwice(IntegrityBroken):
    """Another sealing of the same referral and revision was handed over here before, to the same role, purpose and contact."""

    code = "sealed-twice"
    public_message = (
        "This referral was handed over here before in another sealing, which the hub said was rejected. It is not handed over again."
        " Telephone the sender and the partnership's security contact."
    )

    def __init__(self, binding: DeliveryBinding, first: str) -> None:
        """Keep ``binding`` for the refusal, and the id of the delivery that came ``first``."""
        super().__init__(f"came before as delivery {first}", field="manifest.message_id")
        self.binding = binding
        self.first = first


class EarlierSealings:
    """What is in the inbox of other sealings of the same referral."""

    def __init__(self, store: GatewayStore) -> None:
        store.migrate("sealings", SEALING_MIGRATIONS)
        self._store = store

    def find_same(self, received: ReceivedReferral) -> tuple[str | None, bool]:
        """Return the delivery of another sealing that had the same effect, or none; and whether anything of another sealing is here."""
        rows = self._store.query(
            "SELECT delivery_id, role, contact, content FROM inbox_delivery"
            " WHERE sender = ? AND referral_id = ? AND revision = ? AND message_id <> ? ORDER BY received_at",
            (received.sender, received.referral_id, received.revision, received.message_id),
        )
        for row in rows:
            if (row["role"], row["contact"]) == (received.role, received.contact):
                data = self._store.open(f"inbox_delivery.content:{row['delivery_id']}", row["content"])
                if ReceivedReferral.model_validate_json(data).purpose == received.purpose:
                    return str(row["delivery_id"]), True
        return None, bool(rows)
