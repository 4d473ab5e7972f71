"""The search form of the message log: what was asked in its address, and how the read event names it."""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import Request
from starlette.datastructures import QueryParams

from broker.audit.filters import SearchFilter
from broker.audit.gate import digest_text
from broker.audit.wording import tell_event
from broker.console.forms import Form
from broker.console.vocabulary import tell_kind
from broker.log.events import CATALOGUE
from schemas.codes import Kind
from schemas.errors import MalformedMessage
from schemas.local_time import LONDON

LISTS: Final = ("event", "kind", "state", "rule")
"""Members of a search that may have several values."""
SINGLE: Final = ("agency", "id", "token", "person")
DAYS: Final = ("since", "until")
FIRST_DAY: Final = date(1970, 1, 1)
LAST_DAY: Final = date(2999, 12, 31)
_WRONG: Final = "Enter an id or a code: letters, digits and . _ : | / + # - without spaces"
_FIELDS: Final = (*LISTS, *SINGLE, *(f"{day}-{part}" for day in DAYS for part in ("day", "month", "year")))


def read_form(query: QueryParams) -> tuple[Form, SearchFilter | None]:
    """Return what was typed, and the search that it means: none where something of it is wrong, which the form then says."""
    form = Form({name: [text for text in query.getlist(name) if text] for name in _FIELDS if query.getlist(name)})
    members: dict[str, Any] = {name: tuple(form.values.get(name, ())) for name in LISTS}
    members |= {name: form.text(name, most=200) for name in SINGLE}
    first, last = form.day("since"), form.day("until")
    for name, day in (("since", first), ("until", last)):
        if day and not FIRST_DAY <= day <= LAST_DAY:
            form.fail(name, f"Enter a date between {FIRST_DAY.year} and {LAST_DAY.year}")
    if form.errors:
        return form, None
    members |= {"since": _begin(first), "until": _begin(last + timedelta(days=1)) if last else None}
    if first and last and first > last:
        form.fail("until", "The last day must be the same as or after the first day")
    if form.errors:
        return form, None
    try:
        return form, SearchFilter.read(members)
    except MalformedMessage as error:
        form.fail((error.field or "id").partition(".")[0], _WRONG)
        return form, None


def write_query(form: Form, **more: str) -> str:
    """Return the address of a search: what was typed, and ``more``."""
    pairs = [(name, text) for name, texts in form.values.items() for text in texts if name in _FIELDS]
    return urlencode([*pairs, *more.items()])


def write_saved(search: SearchFilter) -> str:
    """Return the address of a saved search."""
    pairs = [(name, text) for name in LISTS for text in getattr(search, name)]
    pairs += [(name, getattr(search, name)) for name in SINGLE if getattr(search, name)]
    for name, at in (("since", search.since), ("until", search.until)):
        if at is not None:
            day = at.astimezone(LONDON).date() - timedelta(days=name == "until")
            pairs += [(f"{name}-{part}", str(getattr(day, part))) for part in ("day", "month", "year")]
    return urlencode(pairs)


async def name_search(request: Request) -> str:
    """Return what the read event says of a search: known ids and codes in clear, whatever else was typed as a digest."""
    form, search = read_form(request.query_params)
    if search is None:
        return f"not understood {digest_text(repr(sorted(form.values.items())))}"
    named: str = await request.app.state.context.gate.name_search(search)
    return named


async def name_id(request: Request) -> str:
    """Return what the read event says of an id in a path: the id if the hub knows it, otherwise a digest."""
    ids = [str(value) for value in request.path_params.values()]
    named: str = await request.app.state.context.gate.name_ids(ids)
    return named


def list_events() -> Mapping[str, str]:
    """Return the kinds of events with a heading for people."""
    return {kind: tell_event(kind, None).partition(":")[0].rstrip(".") for kind in CATALOGUE}


def list_kinds() -> list[tuple[str, str]]:
    """Return the kinds of referrals, each with how it is shown."""
    return sorted(((kind.value, f"{tell_kind(kind)} ({kind.value})") for kind in Kind), key=lambda shown: shown[1])


def _begin(day: date | None) -> datetime | None:
    return datetime.combine(day, time(), LONDON) if day else None
