"""A sample with its grades as CSV: one line for each grade, or one without where nobody has graded yet."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from broker.audit.exporting import defuse_cell

_TITLES = (
    "Number",
    "Referral",
    "Message",
    "Stratum",
    "Accepted",
    "Auditor",
    "Grade",
    "Theme",
    "Action",
    "Audit again on",
)


def write_items(items: Sequence[Mapping[str, Any]]) -> str:
    """Return a sample's referrals and grades as CSV (RFC 4180), safe to open in a spreadsheet."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_TITLES)
    for item in items:
        base = [
            str(item["number"]),
            item["referral_id"],
            str(item["message_id"]),
            " / ".join(item["stratum"]),
            item["accepted_at"].isoformat() if item["accepted_at"] is not None else "",
        ]
        graded = zip(
            *(item[name] or [""] for name in ("auditors", "grades", "themes", "actions", "reaudits")), strict=True
        )
        for auditor, grade, theme, action, again in graded:
            row = [*base, auditor, grade, theme, action, again.isoformat() if again else ""]
            writer.writerow([defuse_cell(text) for text in row])
    return out.getvalue()
