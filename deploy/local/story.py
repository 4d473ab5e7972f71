"""The demonstration's story: documents are handed over as record systems would, in the order of their arrival, and followed to every recipient.

What is told is what the people concerned can see themselves: the sender's own view of its referral, and each recipient's opened delivery.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from adapters.mapping import MappingContext, default_mappings, read_records, recognise_mapping
from deploy.authority.signing import read_signed
from deploy.local.gateway_access import ContactKey, GatewayAccess
from deploy.local.local_partnership import LocalPartnership
from deploy.local.sample_set import SampleDocument
from schemas.codes import DeliveryOutcome
from schemas.directory import Directory
from schemas.errors import DependencyUnavailable, Rejected
from schemas.referral import CirculationEntry, Referral

SETTLE_SECONDS = 60.0
"""Longest wait for one document: from handing over to the last receipt."""
POLL_SECONDS = 0.1
ACCEPTED = 202
_MOVING = frozenset({"received", "planned", "sealed", "published"})


@dataclass(slots=True)
class ToldReferral:
    """One referral, as its sender sees it (``view``) and as it was read from the document (``referral``)."""

    document: str
    record: int
    referral: Referral
    view: dict[str, Any]
    opened: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each recipient opened, by delivery id."""

    @property
    def name(self) -> str:
        """The document and the record in it."""
        return f"{self.document}#{self.record}"

    @property
    def deliveries(self) -> list[dict[str, Any]]:
        """The sender's view of each delivery."""
        return list(self.view["deliveries"])

    def find_delivery(self, entry: CirculationEntry) -> dict[str, Any] | None:
        """Return the delivery that serves a circulation entry."""
        for delivery in self.deliveries:
            if (delivery["recipient"], delivery["role"], delivery["purpose"]) == (
                entry.agency,
                entry.role,
                entry.purpose,
            ):
                return dict(delivery)
        return None


@dataclass(frozen=True, slots=True)
class ToldDocument:
    """What became of one document: its good records, and the faults of the bad ones as the gateway answered."""

    document: str
    referrals: list[ToldReferral]
    faults: list[dict[str, Any]]


class Story:
    """Hands documents over to a running partnership and follows them."""

    def __init__(self, partnership: LocalPartnership) -> None:
        """Take a partnership that runs; its gateways are reached as they are needed."""
        self._partnership = partnership
        self._access: dict[str, GatewayAccess] = {}
        self._mappings = default_mappings()
        self.directory: Directory = read_signed(partnership.authority).directory

    def tell(self, document: SampleDocument) -> ToldDocument:
        """Hand over one document, wait until every referral in it is settled, and return what the sender sees.

        Raises:
            DependencyUnavailable: it did not settle within a minute.
        """
        if document.received_at is not None:
            self._partnership.set_clock(document.received_at)
        read = self._read(document)
        sender = self._find_sender(document, read)
        status, answer = self.access(sender).hand_over(document)
        accepted = answer.get("referrals", []) if status == ACCEPTED else []
        told = [
            ToldReferral(document.name, entry["number"], read[entry["number"]], self._settle(sender, entry))
            for entry in accepted
        ]
        return ToldDocument(document.name, told, answer.get("errors", []))

    def open_deliveries(self, told: ToldReferral) -> None:
        """Open every delivery of a referral as its recipient's own people do, and keep what they read."""
        for delivery in told.deliveries:
            if delivery["outcome"] == DeliveryOutcome.DELIVERED:
                contact = self._find_contact(delivery)
                opened = self.access(delivery["recipient"]).open_delivery(delivery["delivery_id"], contact)
                told.opened[delivery["delivery_id"]] = opened

    def act_on(self, told: ToldReferral, delivery_id: str) -> None:
        """Say, as a recipient's worker, that a delivery was acted on."""
        delivery = next(d for d in told.deliveries if d["delivery_id"] == delivery_id)
        self.access(delivery["recipient"]).send_receipt(delivery_id, "actioned", self._find_contact(delivery))

    def await_receipts(self, told: ToldReferral, state: str) -> None:
        """Wait until the sender has receipts of at least ``state`` for everything delivered, and take its newer view.

        Raises:
            DependencyUnavailable: a receipt did not come within a minute.
        """
        order = ("accepted", "opened", "actioned")

        def arrived(view: dict[str, Any]) -> bool:
            states = [(d["receipt"] or {}).get("state") for d in view["deliveries"] if d["outcome"] == "delivered"]
            return all(found in order and order.index(found) >= order.index(state) for found in states)

        told.view = self._wait(told.referral.sender, told.view["referral_id"], arrived)

    def access(self, agency: str) -> GatewayAccess:
        """Return an agency's gateway."""
        if agency not in self._access:
            self._access[agency] = self._partnership.open_access(agency)
        return self._access[agency]

    def close(self) -> None:
        """Close the connections."""
        for access in self._access.values():
            access.close()

    def _read(self, document: SampleDocument) -> dict[int, Referral]:
        """Read the document as its sender's gateway will, to know its sender and to compare; a bad document has no records."""
        received_at = document.received_at or self._partnership.read_clock()
        context = MappingContext(directory=self.directory, sender=None, received_at=received_at)
        data = document.read_bytes()
        try:
            outcomes = read_records(data, recognise_mapping(document.name, data, self._mappings), context)
        except Rejected:
            return {}
        return {outcome.number: outcome.referral for outcome in outcomes if outcome.referral is not None}

    def _find_sender(self, document: SampleDocument, read: dict[int, Referral]) -> str:
        """Return whose record system the document comes from; one that nobody can read comes from the first agency of its kind."""
        for referral in read.values():
            return referral.sender
        kind = document.name.removeprefix("bad/").partition("-")[0]
        wanted = {"concern": "education", "msg": "health", "school": "education", "health": "health"}.get(
            kind, "police"
        )
        senders = [a.id for a in self.directory.agencies if a.kind == wanted and a.roles != ("la_education",)]
        return senders[0]

    def _find_contact(self, delivery: dict[str, Any]) -> ContactKey | None:
        _, marked, contact = str(delivery["decision"].get("deliver_to") or "").partition("#")
        return self._partnership.read_contact_key(delivery["recipient"], contact) if marked else None

    def _settle(self, sender: str, entry: dict[str, Any]) -> dict[str, Any]:
        def settled(view: dict[str, Any]) -> bool:
            delivered = [d for d in view["deliveries"] if d["outcome"] == "delivered"]
            return view["state"] not in _MOVING and all(d["receipt"] for d in delivered)

        return self._wait(sender, entry["referral_id"], settled)

    def _wait(self, sender: str, referral_id: str, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            view = self.access(sender).describe_referral(referral_id)
            if done(view):
                return view
            if time.monotonic() > deadline:
                raise DependencyUnavailable(
                    f"a referral did not settle in {SETTLE_SECONDS:.0f} seconds; it is {view['state']}"
                )
            time.sleep(POLL_SECONDS)


def iterate_sections(opened: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield ``(compartment, form, section)`` of an opened delivery."""
    for section in opened["referral"]["sections"]:
        yield section["compartment"], section["form"], section
