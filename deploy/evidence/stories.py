"""Whether a pack's parts tell one story. Each can be signed and logged, and together they can still lie: a hub writes the log, and witnesses cosign
whatever it writes as long as it only grows. What agencies and officers signed must bear the hub's events out.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from schemas.canonical import sha256_base64url
from schemas.errors import MalformedMessage
from schemas.objects.events import DecidedEvent
from schemas.objects.receipt import Receipt

_TOLD: Final = ("recipient", "role", "purpose", "agreement", "policy_digest")
_GOES: Final = frozenset({"full", "summary", "pointer"})
_OF_RECEIPT: Final = ("message_id", "delivery_id", "recipient", "sender", "state", "previous", "decision_leaf")


def require_told(decided: DecidedEvent, told: Mapping[str, Any], compartments: Mapping[str, str]) -> None:
    """Hold a decision that the log has, and its recipient was given, against what the sender was told of it.

    ``compartments`` are those of the message's sections, by section id; empty where its sealed bytes are gone. Reason and rule are not compared: a
    recipient is told less of them than the sender.

    Raises:
        MalformedMessage: they differ.
    """
    if decided.outcome != told.get("outcome") or any(getattr(decided, name) != told.get(name) for name in _TOLD):
        raise MalformedMessage("a decision is not what its sender was told", field="events.json")
    verdicts = told.get("compartments", {})
    going = {compartment for compartment, verdict in verdicts.items() if verdict.get("result") in _GOES}
    if not {compartments[section] for section in decided.released if section in compartments} <= going:
        raise MalformedMessage("more was released than its sender was told", field="events.json")


def require_receipt_of_decision(
    receipt: Receipt, event: Mapping[str, Any], decided: Mapping[str, DecidedEvent], erased: Collection[str]
) -> None:
    """Hold a receipt against its event and the decision whose leaf its recipient signed. ``erased``: leaves of events whose bytes are gone.

    Raises:
        MalformedMessage: the event says something else, or the recipient was given a decision that is not in this log.
    """
    signed = receipt.model_dump(mode="json")
    if any(signed[name] != event.get(name) for name in _OF_RECEIPT):
        raise MalformedMessage("the log says something else of a receipt than was signed", field="events.json")
    found = decided.get(receipt.decision_leaf)
    if found is None and receipt.decision_leaf in erased:
        return
    if found is None or (found.message_id, found.delivery_id, found.recipient) != (
        receipt.message_id,
        receipt.delivery_id,
        receipt.recipient,
    ):
        raise MalformedMessage("a receipt is for a decision that is not in this log", field="receipts")


def name_leaf(entry: bytes) -> str:
    """Return the name by which a receipt binds itself to an entry: the digest of what the log holds there."""
    return sha256_base64url(entry)
