"""The pack for people: one PDF of who got what and why, and what came back. Ids, codes and instants alone."""

import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer

from schemas.checkpoint import read_checkpoint


def write_summary_pdf(
    subject: str,
    messages: Sequence[Any],
    decisions: Sequence[dict[str, Any]],
    receipts: Sequence[Any],
    note: str,
    *,
    now: datetime,
) -> bytes:
    """Return the PDF."""
    styles = getSampleStyleSheet()
    checkpoint = read_checkpoint(note)
    parts: list[Flowable] = [
        Paragraph(f"Evidence: {escape(subject)}", styles["Title"]),
        Paragraph(
            f"Made {now:%d %B %Y %H:%M} UTC from the log {escape(checkpoint.origin)}, {checkpoint.size} entries, root {checkpoint.root.hex()}."
            " This page proves nothing by itself: run safelane verify on the pack.",
            styles["BodyText"],
        ),
    ]
    for message in messages:
        parts += [
            Spacer(1, 12),
            Paragraph(
                f"{escape(message['kind'])}, revision {message['revision']}, from {escape(message['sender'])}",
                styles["Heading2"],
            ),
            Paragraph(
                f"Referral {escape(message['referral_id'])}, message {message['message_id']}, taken in {message['received_at']:%d %B %Y %H:%M:%S} UTC",
                styles["BodyText"],
            ),
        ]
        for told in (d for d in decisions if d["message_id"] == str(message["message_id"])):
            parts += _describe_decision(told, receipts, styles)
    out = io.BytesIO()
    SimpleDocTemplate(out, pagesize=A4, title=f"Evidence {subject}", author="Safelane", lang="en-GB").build(parts)
    return out.getvalue()


def _describe_decision(told: dict[str, Any], receipts: Sequence[Any], styles: Any) -> list[Flowable]:
    decision = told["decision"]
    if not decision:
        return [
            Paragraph(
                f"Delivery {escape(told['delivery_id'])}: erased; the log keeps its commitment.", styles["BodyText"]
            )
        ]
    again = f", again because of {told['cause']}" if told["cause"] else ""
    heading = f"{decision['recipient']} ({decision['role']}, {decision['purpose']}): {decision['outcome']} by {decision['row']}{again}"
    lines = [
        f"{c}: {d['result']} ({d['row']}) {d.get('reason', '')}" for c, d in sorted(decision["compartments"].items())
    ]
    came = [
        f"receipt {r['state']}, logged {r['received_at']:%d %B %Y %H:%M:%S} UTC"
        for r in receipts
        if r["delivery_id"] == told["delivery_id"] and not told["cause"]
    ]
    text = [decision.get("reason", ""), decision.get("authority", ""), *lines, *came]
    body = "<br/>".join(escape(line) for line in text if line)
    return [Paragraph(escape(heading), styles["Heading3"]), Paragraph(body, styles["BodyText"])]
