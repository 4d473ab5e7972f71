"""Taking in what ``safelane review sign`` printed: only a decision about what the page shows, by the person whose account it is."""

from collections.abc import Container, Mapping
from typing import Final

from broker.console.page import PageContext
from broker.intake.handing_in import HandingIn
from schemas.canonical import canonical_bytes, parse_object
from schemas.directory import Directory
from schemas.errors import NotPermitted, SafelaneError
from schemas.objects.signed import peek_object

MAX_SIGNED: Final = 64 * 1024


def require_person(page: PageContext) -> str:
    """Return who the viewer is in the directory.

    Raises:
        NotPermitted: their account names nobody there.
    """
    if page.user.person_id is None:
        raise NotPermitted("your account names no person of the directory, so you cannot approve: ask an operator")
    return page.user.person_id


def choose_role(page: PageContext, directory: Directory, counting: Container[str]) -> str | None:
    """Return the first of the viewer's roles in the directory that counts for what they sign, or none: people may have several."""
    roles = next((person.roles for person in directory.people if person.id == page.user.person_id), ())
    return next((role for role in roles if role in counting), None)


async def take_signed(page: PageContext, actions: Container[str], about: Mapping[str, str]) -> bool:
    """Verify, register and log the decision in the field ``signed``; return whether that was done: if not, the form says why.

    Args:
        page: the request; its viewer must be who signed.
        actions: what may be decided on this page.
        about: members of the decision that name what this page shows.

    Raises:
        NotPermitted: the viewer's account names no person of the directory.
    """
    person = require_person(page)
    signed = page.form.text("signed", required="Paste what safelane review sign printed", most=MAX_SIGNED)
    body = _read_signed(page, signed, actions, about) if not page.form.errors else None
    if body is None:
        return False
    context = page.context
    try:
        handing_in = HandingIn(context.pool, context.log, context.registry)
        await handing_in.take(body, person, real_now=context.clock(), now=context.business_clock())
    except SafelaneError as error:
        page.form.fail("signed", f"It was not taken: {error.detail or error.public_message}")
        return False
    return True


def _read_signed(page: PageContext, signed: str, actions: Container[str], about: Mapping[str, str]) -> bytes | None:
    try:
        body = canonical_bytes(parse_object(signed.encode("utf-8", "replace"), max_bytes=MAX_SIGNED, field="signed"))
        told = peek_object(body)
    except SafelaneError:
        page.form.fail("signed", "This is not what safelane review sign prints. Paste all of it")
        return None
    if told.get("action") not in actions or any(told.get(name) != value for name, value in about.items()):
        page.form.fail("signed", "This decision is about something else. Open that, and hand it in there")
        return None
    return body
