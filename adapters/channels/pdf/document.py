"""The page order of the readable PDF.

First what decides how fast to move (kind, danger, risk), then who the child is, what happened, the child's words, what to do now and by
when, whom to ring; after that every received section in full; last, what form each section has and how to ask for more.
It is made from the received referral alone, so it cannot hint at what was not sent.
"""

import io
from collections.abc import Iterator

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.platypus import CondPageBreak, Flowable, HRFlowable, SimpleDocTemplate, Spacer

from adapters.channels.pdf import blocks
from adapters.channels.pdf.blocks import make_band, make_pairs, make_paragraph, make_rows
from adapters.channels.pdf.bounds import bound_referral
from adapters.channels.pdf.dates import write_instant
from adapters.channels.pdf.fonts import register_fonts
from adapters.channels.pdf.page import SHORT_TEXT, Page
from adapters.channels.pdf.rows import Row
from adapters.channels.pdf.words import Words, load_words
from adapters.gateway.incoming.received import INCIDENT, ReceivedReferral, ReceivedSection
from schemas.clear_codes import RISK_TOOL_TITLES
from schemas.codes import COMPARTMENT_TITLES, Compartment, Form, RiskGrade

_FRAME_PADDING = 6.0  # points, reportlab's own
_WIDTH = A4[0] - 36 * mm
_DETAIL_ORDER = tuple(
    Compartment(f"C{n:02}") for n in (1, 4, 6, 5, 15, 14, 2, 3, 7, 8, 13, 16, 9, 10, 11, 12, 17)
)  # fmt: skip
_FIRST_PAGE = (
    (Compartment.C04, "What happened", 3, blocks.BODY),
    (Compartment.C06, "The child's words", 6, blocks.QUOTE),
)
_MACHINE_ONLY = frozenset({"data", "data_b64", "b64", "content", "sha256"})
_POINTER_FIELDS = frozenset({"heading", "held_by", "note"})


def render_pdf(referral: ReceivedReferral, words: Words | None = None) -> bytes:
    """Return the PDF of a received referral.

    Text in any script of the font prints; characters outside it are marked, never dropped in silence, and so is what is too long to print.
    """
    referral = bound_referral(referral)
    register_fonts()
    chosen = words or load_words()
    out = io.BytesIO()
    document = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=18 * mm - _FRAME_PADDING,
        rightMargin=18 * mm - _FRAME_PADDING,
        topMargin=14 * mm,
        bottomMargin=18 * mm,
        title=_write_title(referral, chosen),
        author=referral.sender_name or referral.sender,
        subject="Safeguarding referral",
        creator="Safelane",
        lang="en-GB",
        displayDocTitle=True,
    )
    footer = f"Confidential. Delivery {referral.delivery_id}"
    numbered = type("PageCanvas", (blocks.NumberedCanvas,), {"footer": footer})
    page = Page.from_referral(referral, chosen)
    document.build(list(_list_story(page)), canvasmaker=numbered)
    return out.getvalue()


def _write_title(referral: ReceivedReferral, words: Words) -> str:
    kind = words.name_code(words.kinds, referral.case.kind)
    if referral.case.original_kind:
        kind = f"{kind}: {words.name_code(words.kinds, referral.case.original_kind)}"
    if referral.case.missing_event:
        kind = f"{kind}: {words.name_code(words.missing_events, referral.case.missing_event)}"
    return kind


def _list_story(page: Page) -> Iterator[Flowable]:
    referral, words = page.referral, page.words
    yield make_paragraph(words.notice, blocks.SMALL)
    yield Spacer(1, 3)
    yield make_paragraph(_write_title(referral, words), blocks.TITLE)
    yield Spacer(1, 4)
    yield _make_risk_band(referral, words)
    yield Spacer(1, 5)
    yield from make_pairs(_list_facts(referral, words), _WIDTH)
    yield from _list_summary(page)
    yield from _list_first_steps(referral, words)
    yield from _list_details(page)
    yield from _list_own_view(referral, words)


def _make_risk_band(referral: ReceivedReferral, words: Words) -> Flowable:
    risk = referral.risk
    if risk is None:
        return make_band([(words.risk_not_shared, blocks.BODY)], blocks.PALE, blocks.INK, _WIDTH)
    grade = words.name_code(words.grades, risk.grade)
    lines = [(f"Immediate danger. {grade}." if risk.immediate_danger else f"{grade}.", blocks.BAND)]
    details = []
    if risk.tool:
        details.append(
            f"Graded with {RISK_TOOL_TITLES.get(risk.tool, risk.tool)}{f' {risk.tool_version}' if risk.tool_version else ''}"
        )
    if risk.assessed_at:
        details.append(
            f"on {write_instant(risk.assessed_at)}" if details else f"Graded on {write_instant(risk.assessed_at)}"
        )
    if risk.next_review_due_at:
        late = risk.next_review_due_at < referral.received_at
        details.append(f"review {'was due' if late else 'due'} {write_instant(risk.next_review_due_at)}")
    if details:
        lines.append((", ".join(details) + ".", blocks.BODY))
    if risk.immediate_danger or risk.grade is RiskGrade.HIGH:
        return make_band(lines, blocks.RED, blocks.white, _WIDTH)
    if risk.grade in {RiskGrade.MEDIUM, RiskGrade.STANDARD}:
        return make_band(lines, blocks.AMBER, blocks.INK, _WIDTH)
    return make_band(lines, blocks.PALE, blocks.INK, _WIDTH)


def _list_facts(referral: ReceivedReferral, words: Words) -> list[Row]:
    to = referral.recipient_name or referral.recipient
    role = words.name_code(words.roles, referral.role)
    only = f". Only for: {referral.contact}" if referral.contact else ""
    rows = [
        Row("From", referral.sender_name or referral.sender),
        Row("To", f"{to} ({role}), {words.name_code(words.purposes, referral.purpose)}{only}"),
    ]
    if referral.area_name:
        rows.append(Row("Area", referral.area_name))
    if referral.case.reported_at:
        rows.append(Row("Reported", write_instant(referral.case.reported_at)))
    rows.append(Row("Sent", write_instant(referral.issued_at)))
    rows.append(Row("Received", write_instant(referral.received_at)))
    if referral.supersedes:
        rows.append(
            Row("Changes", f"an earlier message about the same case ({referral.supersedes}). Read them together.")
        )
    return rows


def _list_summary(page: Page) -> Iterator[Flowable]:
    identity = page.referral.find_section(Compartment.C01)
    yield make_paragraph("Who this is about", blocks.HEADING)
    if identity is None or identity.form is Form.POINTER:
        yield make_paragraph("The sender has not sent identity details to your role. Ask the sender who this is about.")
    for number, subject in enumerate(page.referral.subjects, start=1):
        yield from _list_identity(page, subject.subject_id, number)
    for compartment, heading, most, style in _FIRST_PAGE:
        rows = [page.label_row(s, r) for s in page.list_open(compartment) for r in page.list_short_rows(s)[:most]]
        if rows:
            yield make_paragraph(heading, blocks.HEADING)
            yield from make_rows(rows, _WIDTH, style)

    yield from _list_contact_warnings(page)


def _list_contact_warnings(page: Page) -> Iterator[Flowable]:
    """What must be known before anyone is rung: whom not to tell and how to make safe contact, all of it."""
    pairs = [(s, row) for s in page.list_open(Compartment.C14) for row in page.list_short_rows(s)]
    if not pairs:
        return
    pairs.sort(key=lambda pair: page.words.rank_contact(pair[1].label, pair[1].text))
    yield make_paragraph("Before you contact anyone", blocks.HEADING)
    for section, row in pairs:
        style = blocks.LABEL if page.words.forbids(f"{row.label} {row.text}") else blocks.BODY
        yield from make_rows([page.label_row(section, row)], _WIDTH, style)


def _list_identity(page: Page, subject_id: str, number: int) -> Iterator[Flowable]:
    yield make_paragraph(page.name_subject(subject_id, number), blocks.SUBHEADING)
    for section in page.list_open(Compartment.C01):
        if section.subject == subject_id:
            yield from make_pairs(page.list_rows(section), _WIDTH)


def _list_first_steps(referral: ReceivedReferral, words: Words) -> Iterator[Flowable]:
    yield CondPageBreak(40 * mm)
    yield make_paragraph("What to do now", blocks.HEADING)
    kind = referral.case.original_kind if referral.case.kind in {"UPDATE", "CORRECTION"} else referral.case.kind
    steps = words.list_first_steps(kind or referral.case.kind, referral.role)
    if referral.case.kind != kind:
        steps = (*words.first_steps.get(referral.case.kind, ()), *steps)
    rows = [Row(f"{number}.", step) for number, step in enumerate(steps, start=1)]
    for row in rows:
        yield make_paragraph(f"{row.label}  {row.text}")
    if referral.deadlines:
        yield make_paragraph("By when", blocks.SUBHEADING)
        due = sorted(referral.deadlines, key=lambda d: d.due_at)
        yield from make_rows(
            [Row(write_instant(d.due_at), words.name_code(words.clocks, d.clock)) for d in due], _WIDTH
        )
    yield make_paragraph("Whom to ring at the sender", blocks.SUBHEADING)
    rows = [
        Row(contact.post, ", ".join(part for part in (contact.name, contact.phone, contact.email) if part))
        for contact in referral.sender_contacts
    ]
    yield from make_rows(rows or [Row("Sender", referral.sender_name or referral.sender)], _WIDTH)


def _list_details(page: Page) -> Iterator[Flowable]:
    referral = page.referral
    yield Spacer(1, 8)
    yield HRFlowable(width="100%", thickness=1.2, color=blocks.INK)
    groups = [(INCIDENT, "The whole case")]
    for number, subject in enumerate(referral.subjects, start=1):
        groups.append((subject.subject_id, page.name_subject(subject.subject_id, number)))
    for subject_id, heading in groups:
        sections = sorted(referral.sections_about(subject_id), key=lambda s: _DETAIL_ORDER.index(s.compartment))
        sections = [s for s in sections if s.compartment is not Compartment.C01 or subject_id == INCIDENT]
        if not sections:
            continue
        yield CondPageBreak(35 * mm)
        yield make_paragraph(heading, blocks.HEADING)
        for section in sections:
            yield from _list_section(page, section)


def _list_section(page: Page, section: ReceivedSection) -> Iterator[Flowable]:
    yield CondPageBreak(18 * mm)
    yield make_paragraph(COMPARTMENT_TITLES[section.compartment], blocks.SUBHEADING)
    words = page.words
    note = words.form_notes.get(section.form)
    if note:
        yield make_paragraph(note, blocks.NOTE)
    if section.form is Form.POINTER and isinstance(section.content, dict) and section.content.keys() <= _POINTER_FIELDS:
        return
    style = blocks.QUOTE if section.compartment is Compartment.C06 else blocks.BODY
    yield from make_rows(page.list_rows(section), _WIDTH, style)
    for attachment in section.attachments:
        told = {
            k: v
            for k, v in attachment.items()
            if isinstance(v, str) and len(v) <= SHORT_TEXT and k not in _MACHINE_ONLY
        }
        yield from make_rows(
            [Row("Attachment", "; ".join(f"{words.label_field(k).lower()}: {v}" for k, v in told.items()))], _WIDTH
        )


def _list_own_view(referral: ReceivedReferral, words: Words) -> Iterator[Flowable]:
    yield CondPageBreak(50 * mm)
    yield make_paragraph("What you have, and how to ask for more", blocks.HEADING)
    rows = []
    for form in Form:
        titles = dict.fromkeys(
            COMPARTMENT_TITLES[c]
            for c in Compartment
            for s in referral.sections
            if s.compartment is c and s.form is form
        )
        if titles:
            rows.append(Row("; ".join(titles), words.forms[form]))
    yield from make_rows([Row(_capitalise(row.text), row.label) for row in rows], _WIDTH)
    yield Spacer(1, 4)
    yield make_paragraph(words.your_view)
    reason = referral.decision.get("reason")
    if isinstance(reason, str) and reason:
        yield make_paragraph(f"Why you may have it: {reason}", blocks.SMALL)
    seen = "It is recorded in the partnership's log." if referral.witnessed else (
        "It is recorded in the partnership's log; the witnesses have not confirmed it yet."
    )  # fmt: skip
    yield make_paragraph(f"The sender's signature and every section were verified on receipt. {seen}", blocks.SMALL)
    yield make_paragraph(
        f"Referral {referral.referral_id}, revision {referral.revision}, message {referral.message_id}, "
        f"delivery {referral.delivery_id}. Fingerprint {referral.manifest_digest}.",
        blocks.SMALL,
    )


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]
