"""Who knew what of one child, when, across agencies: asked by one person with a reason, approved by a second, read once by one of the two.

Each signs on their own machine, as for other decisions. The token of the child is typed into forms alone: addresses and the log hold its digest.
"""

import base64
from collections.abc import Mapping
from typing import Final

from fastapi import Response

from broker.audit.chronology import read_chronology, require_token
from broker.audit.chronology_questions import Question, QuestionState, list_questions
from broker.audit.chronology_telling import list_givings, tabulate_knowledge, tell_act, write_chronology
from broker.console.access import Capability
from broker.console.names import read_names
from broker.console.page import Page, PageContext
from broker.console.routing import Pages
from broker.console.signed_decisions import choose_role, require_person, take_signed
from broker.intake.pairing import list_pair_roles, name_subject
from schemas.canonical import canonical_bytes
from schemas.directory import Directory
from schemas.errors import MalformedMessage, NotFound, NotPermitted
from schemas.objects.approval import ApprovalAction

REASONS: Final[Mapping[str, str]] = {
    "serious_case_review": "A review of practice or a serious case",
    "court_order": "A court ordered it",
    "subject_request": "The person asked to see who was told",
    "reason_given": "Another reason, which my agency has recorded",
}
"""Why somebody may ask, by code (``schemas.clear_codes.Reason``)."""
_READING_SECONDS: Final = 60.0

pages = Pages("chronology", navigation=("Chronology", "/chronology", Capability.SEE_CHRONOLOGIES, 25, True))


@pages.read("/chronology", capability=Capability.SEE_CHRONOLOGIES, action="chronology_questions")
async def show_questions(page: Page) -> Response:
    """List what was asked, and offer to ask."""
    return await _show_list(page)


@pages.act("/chronology", capability=Capability.ASK_CHRONOLOGY)
async def ask(page: Page) -> Response:
    """Prepare what the person who asks is to sign."""
    _require_partnership(page)
    token = _read_token(page)
    reason = _read_reason(page)
    if page.form.errors:
        return await _show_list(page)
    return await _prepare(page, name_subject(token), reason)


@pages.read("/chronology/{subject}", capability=Capability.SEE_CHRONOLOGIES, action="chronology_question")
async def show_question(page: Page, subject: str) -> Response:
    """Show one question: who approved it, until when, and what the viewer can do."""
    return await _show_one(page, subject)


@pages.act("/chronology/{subject}/prepare", capability=Capability.ASK_CHRONOLOGY)
async def agree(page: Page, subject: str) -> Response:
    """Prepare what the second person is to sign, who types the token too: nobody approves a child whom they cannot name."""
    await _read(page, subject)
    token = _read_token(page)
    reason = _read_reason(page)
    _require_same(page, token, subject)
    if page.form.errors:
        return await _show_one(page, subject)
    return await _prepare(page, subject, reason)


@pages.act("/chronology/{subject}/hand-in", capability=Capability.ASK_CHRONOLOGY)
async def hand_in(page: Page, subject: str) -> Response:
    """Take in a signed approval of this question."""
    _require_partnership(page)
    if not await take_signed(page, {ApprovalAction.CHRONOLOGY}, {"subject_digest": subject}):
        return await _prepare(page, subject, _read_reason(page) or "reason_given")
    return await page.redirect(f"/chronology/{subject}", notice="Your signed approval is registered and logged.")


@pages.act("/chronology/{subject}/read", capability=Capability.ASK_CHRONOLOGY)
async def read(page: Page, subject: str) -> Response:
    """Use two people's approvals up, log that, and show who knew what, when. It is shown once; the page holds the file as well."""
    questions = await _read(page, subject)
    token = _read_token(page)
    _require_same(page, token, subject)
    if page.form.errors:
        return await _show_one(page, subject)
    context = page.context
    page.extend_time(_READING_SECONDS)
    found = await read_chronology(
        context.pool, context.log, await _directory(page), token=token, person=require_person(page), now=page.now
    )
    givings = list_givings(found)
    file = base64.b64encode(write_chronology(found)).decode()
    return await page.render(
        "found.html",
        found=found,
        people=await read_names(page),
        question=next(q for q in questions if q.state is QuestionState.READY),
        reasons=REASONS,
        givings=givings,
        grid=tabulate_knowledge(givings),
        tell=tell_act,
        agencies=await page.context.agency_names(),
        parties=sorted(found.by_agency()),
        file=f"data:text/csv;base64,{file}",
    )


def _require_partnership(page: PageContext) -> None:
    if page.user.agency is not None:
        raise NotPermitted("who knew what across agencies is asked for the partnership, not for one agency")


def _read_token(page: PageContext) -> str:
    token = page.form.text("token", required="Enter the child’s token")
    if token:
        try:
            require_token(token)
        except MalformedMessage:
            page.form.fail("token", "Enter the token as scheme|pepper|value, for example nhs|pepper-1|5f3a…")
    return token


def _read_reason(page: PageContext) -> str:
    return next(iter(page.form.choices("reason_code", REASONS, required="Choose why you ask")), "")


def _require_same(page: PageContext, token: str, subject: str) -> None:
    if not page.form.errors and name_subject(token) != subject:
        page.form.fail("token", "This is another child’s token than the one that was asked about")


async def _directory(page: PageContext) -> Directory:
    return (await page.context.registry.current()).directory


async def _prepare(page: PageContext, subject: str, reason: str) -> Response:
    """Show what to sign and how; the role is the first of the person's that counts."""
    require_person(page)
    directory = await _directory(page)
    counting = list_pair_roles(directory, ApprovalAction.CHRONOLOGY)
    role = choose_role(page, directory, counting)
    if role is None:
        raise NotPermitted(
            f"the directory gives you none of the roles that may approve this: {', '.join(sorted(counting))}"
        )
    members = {
        "action": ApprovalAction.CHRONOLOGY.value,
        "subject_digest": subject,
        "reason_code": reason,
        "approver_role": role,
    }
    return await page.render(
        "sign.html", subject=subject, reasons=REASONS, reason=reason, document=canonical_bytes(members).decode()
    )


async def _read(page: PageContext, subject: str) -> list[Question]:
    """Return what was asked about one token, newest first.

    Raises:
        NotFound: nothing was.
    """
    _require_partnership(page)
    async with page.connection() as connection:
        found = await list_questions(connection, await _directory(page), page.now, subject=subject)
    if not found:
        raise NotFound("nobody has asked this", field="subject")
    return found


async def _show_list(page: PageContext) -> Response:
    _require_partnership(page)
    async with page.connection() as connection:
        questions = await list_questions(connection, await _directory(page), page.now)
    return await page.render("list.html", questions=questions, people=await read_names(page), reasons=REASONS)


async def _show_one(page: PageContext, subject: str) -> Response:
    questions = await _read(page, subject)
    current = next((q for q in questions if q.state in {QuestionState.WAITING, QuestionState.READY}), None)
    return await page.render(
        "one.html",
        subject=subject,
        people=await read_names(page),
        current=current,
        earlier=[q for q in questions if q is not current],
        reasons=REASONS,
        is_mine=current is not None and page.user.person_id in current.people,
    )
