"""What the hub told an agency, in words: one sentence for each code, and what to do next."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from deploy.cli.verdicts import show_minute

TOLD: Final[Mapping[str, str]] = {
    "CONSENT_WITHDRAWN": "A consent that this rested on was withdrawn. What has not gone is not sent; what you hold stays, and is used no further on it.",
    "CONSENT_EXPIRED": "A consent that this rested on has ended. What has not gone is decided again; ask again if it is still needed.",
    "CLAIM_TICKET": "A delivery waits to be collected: your gateway does so by itself.",
    "CORRECTED": "The sender corrected what you received: read the correction in your inbox, and mend what you recorded.",
    "RECALLED": "The sender recalls this delivery. Delete what you copied, then: safelane gateway confirm-deletion {delivery}",
    "DELETION_CONFIRMED": "The recipient has deleted what you recalled, or said why it may not.",
    "ERASED": "The hub no longer holds this message, because its time was over: it was handled once, and this copy had no effect.",
    "REQUEST_ASKED": "An agency asks you for information. See who and why, and answer: safelane gateway request list",
    "REQUEST_ANSWERED": "Your request was answered: the answer is in your inbox.",
    "REQUEST_REFUSED": "Your request was refused. The reason's code: safelane gateway request list",
    "REQUEST_OVERDUE": "A request has had no answer by its deadline: use the telephone. safelane gateway request list",
    "negative_receipt": "No further receipt came by the deadline: telephone the recipient.",
    "overdue": "What waits for an approver is past its deadline: call them. safelane review list",
    "refused": "An approver refused what was held of this delivery: it is withheld for good.",
}
"""Code to sentence; ``{delivery}`` stands for the delivery's id."""
_OTHER: Final = "The hub told this in a code that this version does not know: ask your operator."


def describe_told(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of one thing that the hub told: when, its code and what it is about; then the sentence."""
    about = row["delivery_id"] or row["message_id"] or ""
    yield f"{show_minute(row['at'])}  {row['code']}  {about}".rstrip()
    yield f"    {TOLD.get(row['code'], _OTHER).format(delivery=row['delivery_id'] or 'DELIVERY')}"
