"""What became of a recall, delivery by delivery, as its sender sees it: asked, deleted, or kept and why. Each word is verified as its recipient's own."""

import json
from typing import Any

from adapters.gateway.identity.directory_keeper import VerifiedDirectory
from adapters.gateway.outgoing.statements import StatementBook
from schemas.canonical import canonical_bytes
from schemas.codes import DeliveryOutcome
from schemas.errors import SafelaneError
from schemas.objects import peek_object
from schemas.objects.control import DeletionConfirmedControl
from schemas.objects.registry import read_object

CONFIRMED = "DELETION_CONFIRMED"


def add_recalls(view: dict[str, Any], statements: StatementBook, directory: VerifiedDirectory | None) -> dict[str, Any]:
    """Return a referral's view with ``recalled`` and ``deleted`` (instants or null) and ``kept_for`` (a code or null) on each delivery.

    Args:
        view: what ``OutboxView.describe`` returns; its deliveries are changed in place.
        statements: what we signed and were told.
        directory: whose keys count; with none, nothing counts as confirmed.
    """
    message_id = view["message_id"] or ""
    recalled = _find_recall(statements, message_id)
    words = _read_words(statements, directory, message_id) if recalled and directory else []
    for delivery in view["deliveries"]:
        ours = recalled if delivery["outcome"] == DeliveryOutcome.DELIVERED else None
        said = [w for w in words if (w.delivery_id, w.agency) == (delivery["delivery_id"], delivery["recipient"])]
        gone = next((word for word in said if word.exceptions_code is None), None)
        kept = next((word for word in reversed(said) if word.exceptions_code is not None), None)
        delivery["recalled"] = ours
        delivery["deleted"] = gone.model_dump(mode="json")["deleted_at"] if gone else None
        delivery["kept_for"] = kept.exceptions_code if kept and not gone else None
    return view


def _find_recall(statements: StatementBook, message_id: str) -> str | None:
    """Return when we signed the newest recall of a message that the hub has not refused."""
    last = statements.find_last("recall", message_id)
    return str(peek_object(last.body)["issued_at"]) if last else None


def _read_words(
    statements: StatementBook, directory: VerifiedDirectory, message_id: str
) -> list[DeletionConfirmedControl]:
    words = []
    for body in statements.list_told_about(message_id, CONFIRMED):
        try:
            signed = canonical_bytes(json.loads(body)["statement"])
            speaker = str(peek_object(signed).get("agency"))
            word = read_object("control", signed, directory.signing_keys.get(speaker, ()))
        except (SafelaneError, KeyError, TypeError):
            continue  # nobody's word: it is listed among what the hub told, and counts for nothing here
        if isinstance(word, DeletionConfirmedControl) and word.message_id == message_id:
            words.append(word)
    return words
