"""The audit for people with a key of their own: search, a referral's whole view, export, who looked at what, registers. Every call is logged first.

Pages follow a ``Link`` header (RFC 8288, ``rel="next"``), whose cursor is for the same question alone. What a caller sees is bounded by their roles in
the directory (``broker.audit.scope``).
"""

from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from broker.api.answers import answer_json, describe, read_json
from broker.api.audit_examples import (
    ACCESS_EXAMPLE,
    EVENTS_EXAMPLE,
    OVERVIEW_EXAMPLE,
    PROOFS_EXAMPLE,
    REFERRAL_EXAMPLE,
    SAVED_EXAMPLE,
)
from broker.api.context import Context, PersonCaller
from broker.api.guard import KIB
from broker.audit.exporting import MEDIA_TYPES, ExportFormat
from broker.audit.filters import DEFAULT_PAGE, MAX_PAGE, SearchFilter, Word
from broker.audit.plain import describe_page, to_plain
from broker.audit.saved_views import MAX_NAME
from broker.audit.scope import Reader, read_reader
from broker.audit.searching import SearchPage
from broker.registry.access import Caller
from schemas.clear_forms import AskedInstant
from schemas.errors import MalformedMessage

router = APIRouter(prefix="/v1/audit", tags=["audit"])

_MAX_SAVED_BYTES: Final = 8 * KIB
_PAGED: Final = frozenset({"cursor", "limit", "format"})


class PagedSearch(SearchFilter):
    """A search's members as query parameters, and which page of it."""

    cursor: Annotated[str | None, Field(max_length=400)] = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE

    def without_page(self) -> SearchFilter:
        """Return the search itself."""
        return SearchFilter.model_validate(self.model_dump(exclude=set(_PAGED)))


class ExportSearch(SearchFilter):
    """A search's members as query parameters, and how to write what it finds."""

    format: ExportFormat = ExportFormat.CSV

    def without_page(self) -> SearchFilter:
        """Return the search itself."""
        return SearchFilter.model_validate(self.model_dump(exclude=set(_PAGED)))


async def read_caller(caller: PersonCaller, context: Context) -> Reader:
    """Return the calling person as a reader of the audit.

    Raises:
        NotPermitted: none of their roles reads it.
        TooManyRequests: they ask too fast.
    """
    reader = read_reader(_person(caller))
    context.audit_rate.take(reader.person)
    return reader


AuditCaller = Annotated[Reader, Depends(read_caller)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Before = Annotated[AskedInstant | None, Query()]
State = Annotated[Word | None, Query()]


@router.get("/events", summary="Search the log's events, newest first", openapi_extra=describe(answer=EVENTS_EXAMPLE))
async def search(
    request: Request, context: Context, reader: AuditCaller, asked: Annotated[PagedSearch, Query()]
) -> Response:
    """Return a page of events. ``complete`` says up to which position and instant the search sees the log."""
    page = await context.audit.search(reader, asked.without_page(), cursor=asked.cursor, limit=asked.limit)
    return _answer_page(request, page)


@router.get(
    "/export",
    summary="Take what a search finds away as a file",
    openapi_extra=describe(answer='"position","at","event"…', media_type="text/csv"),
)
async def export(context: Context, reader: AuditCaller, asked: Annotated[ExportSearch, Query()]) -> Response:
    """Stream up to 100,000 events as CSV that no spreadsheet takes for formulas, or as JSON lines; the last line says where it was cut."""
    pieces = await context.audit.export(reader, asked.without_page(), asked.format)
    name = f'attachment; filename="safelane-events.{asked.format.value}"'
    return StreamingResponse(pieces, media_type=MEDIA_TYPES[asked.format], headers={"Content-Disposition": name})


@router.get(
    "/proofs",
    summary="The bytes and proofs of what a search finds, to verify without the hub",
    openapi_extra=describe(answer=PROOFS_EXAMPLE),
)
async def prove(context: Context, reader: AuditCaller, asked: Annotated[SearchFilter, Query()]) -> Response:
    """Return up to 200 events with salts, proofs and the signed directory; ``safelane verify`` checks the file offline."""
    return _send_proofs(await context.audit.prove(reader, asked))


@router.get(
    "/proofs/{position}",
    summary="The bytes and proof of one event, to verify without the hub",
    openapi_extra=describe(answer=PROOFS_EXAMPLE),
)
async def prove_position(
    position: Annotated[int, Path(ge=0, lt=2**53)], context: Context, reader: AuditCaller
) -> Response:
    """Return the same for the event at a position of the log."""
    return _send_proofs(await context.audit.prove_position(reader, position))


@router.get(
    "/referrals/{searched_id}",
    summary="Everything about a referral, by its id or a message's or delivery's",
    openapi_extra=describe(answer=REFERRAL_EXAMPLE),
)
async def show(searched_id: Annotated[str, Path(max_length=100)], context: Context, reader: AuditCaller) -> Response:
    """Return messages, deliveries with each compartment's outcome and reason, receipts, clocks, holds, statements and the timeline."""
    return answer_json((await context.audit.show(reader, searched_id)).to_json())


@router.get("/access", summary="Who did or looked at what", openapi_extra=describe(answer=EVENTS_EXAMPLE))
async def access(
    request: Request, context: Context, reader: AuditCaller, asked: Annotated[PagedSearch, Query()]
) -> Response:
    """Return a page of reads, exports, sign-ins and decisions; for an agency's own auditor, those about what it sent."""
    page = await context.audit.access_log(reader, asked.without_page(), cursor=asked.cursor, limit=asked.limit)
    return _answer_page(request, page)


@router.get(
    "/access/report",
    summary="Use of the audit by person, and what of it is unusual",
    openapi_extra=describe(answer=ACCESS_EXAMPLE),
)
async def access_report(
    context: Context,
    reader: AuditCaller,
    since: Annotated[AskedInstant, Query()],
    until: Annotated[AskedInstant, Query()],
) -> Response:
    """Return counts for each person between two instants at most 31 days apart, and each thing that broke a rule with its figures."""
    report = await context.audit.access_report(reader, since=since, until=until)
    return answer_json(to_plain(asdict(report)))


@router.get("/overview", summary="Today in counts", openapi_extra=describe(answer=OVERVIEW_EXAMPLE))
async def overview(context: Context, reader: AuditCaller) -> Response:
    """Return today's flow, clocks, holds, quarantine and the log's state."""
    found = await context.audit.overview(reader)
    return answer_json(to_plain(asdict(found)))


@router.get("/consents", summary="Consents, the latest first", openapi_extra=describe(answer={"consents": []}))
async def list_consents(
    context: Context, reader: AuditCaller, state: State = None, before: Before = None, limit: Limit = DEFAULT_PAGE
) -> Response:
    """Return the newest entry of each consent, received before an instant."""
    return _answer_list("consents", await context.audit.consents(reader, state=state, before=before, most=limit))


@router.get("/consents/{consent_id}", summary="A consent's entries", openapi_extra=describe(answer={"entries": []}))
async def show_consent(
    consent_id: Annotated[str, Path(max_length=100)], context: Context, reader: AuditCaller
) -> Response:
    """Return a consent's entries, oldest first."""
    return _answer_list("entries", await context.audit.consent(reader, consent_id))


@router.get("/quarantine", summary="What could not be handled", openapi_extra=describe(answer={"quarantine": []}))
async def list_quarantine(
    context: Context, reader: AuditCaller, state: State = "open", before: Before = None, limit: Limit = DEFAULT_PAGE
) -> Response:
    """Return what waits in quarantine (``state=all``: what ever did), the latest first."""
    chosen = None if state == "all" else state
    return _answer_list("quarantine", await context.audit.quarantine(reader, state=chosen, before=before, most=limit))


@router.get(
    "/agencies", summary="Agencies, keys, last seen, witnessing", openapi_extra=describe(answer={"agencies": []})
)
async def list_agencies(context: Context, reader: AuditCaller) -> Response:
    """Return the directory's agencies with what the hub knows of them."""
    return _answer_list("agencies", await context.audit.agencies(reader))


@router.get("/agreements", summary="Data-sharing agreements", openapi_extra=describe(answer={"agreements": []}))
async def list_agreements(context: Context, reader: AuditCaller) -> Response:
    """Return the directory's agreements, whether they are in force, and what their owners should hear."""
    lines = await context.audit.agreements(reader)
    return answer_json(
        {
            "agreements": [
                {
                    **line.agreement.model_dump(mode="json", exclude_none=True),
                    "in_force": line.in_force,
                    "warnings": list(line.warnings),
                }
                for line in lines
            ]
        }
    )


@router.get("/policies", summary="The rules in force", openapi_extra=describe(answer={"digest": "…", "policies": []}))
async def show_policies(context: Context, reader: AuditCaller) -> Response:
    """Return the pack that decides, in the words that people are told, and whether the directory names it."""
    found = await context.audit.policies(reader)
    if found is None:
        return answer_json({"policies": []})
    return answer_json({**to_plain(asdict(found)), "matches_directory": found.matches_directory})


@router.get(
    "/checkpoints",
    summary="Signed heads of the log and who cosigned",
    openapi_extra=describe(answer={"checkpoints": []}),
)
async def list_checkpoints(
    context: Context,
    reader: AuditCaller,
    below: Annotated[int | None, Query(ge=1, lt=2**53)] = None,
    limit: Limit = DEFAULT_PAGE,
) -> Response:
    """Return checkpoints below a size, the largest first."""
    return _answer_list("checkpoints", await context.audit.checkpoints(reader, below=below, most=limit))


@router.get("/views", summary="One's own saved searches", openapi_extra=describe(answer={"views": [SAVED_EXAMPLE]}))
async def list_views(context: Context, reader: AuditCaller) -> Response:
    """Return the caller's saved searches by name."""
    views = await context.audit.list_views(reader)
    return answer_json(
        {
            "views": [
                {
                    "name": view.name,
                    "search": view.search.model_dump(mode="json", exclude_defaults=True),
                    "saved_at": view.saved_at.isoformat(),
                }
                for view in views
            ]
        }
    )


@router.put(
    "/views/{name}", summary="Keep a search", openapi_extra=describe(body=SAVED_EXAMPLE["search"], answer={"name": "…"})
)
async def save_view(
    name: Annotated[str, Path(max_length=MAX_NAME)], request: Request, context: Context, reader: AuditCaller
) -> Response:
    """Keep a search under a name; the same name again replaces it."""
    found = SearchFilter.read(await read_json(request, max_bytes=_MAX_SAVED_BYTES))
    await context.audit.save_view(reader, name, found)
    return answer_json({"name": name.strip()})


@router.delete("/views/{name}", summary="Forget a saved search", openapi_extra=describe(answer={"deleted": True}))
async def delete_view(
    name: Annotated[str, Path(max_length=MAX_NAME)], context: Context, reader: AuditCaller
) -> Response:
    """Forget one of the caller's saved searches."""
    await context.audit.delete_view(reader, name)
    return answer_json({"deleted": True})


def _answer_page(request: Request, page: SearchPage) -> Response:
    if page.next_cursor is None:
        return answer_json(describe_page(page))
    following = request.url.include_query_params(cursor=page.next_cursor)
    return answer_json(describe_page(page), headers={"Link": f'<{following.path}?{following.query}>; rel="next"'})


def _send_proofs(file: bytes) -> Response:
    headers = {"Content-Disposition": 'attachment; filename="safelane-events.proofs.json"'}
    return Response(file, media_type="application/json", headers=headers)


def _answer_list(name: str, lines: list[Any]) -> Response:
    return answer_json({name: [to_plain(asdict(line)) for line in lines]})


def _person(caller: Caller) -> Any:
    if caller.person is None:  # pragma: no cover - PersonCaller has one
        raise MalformedMessage("must be a person", field="caller")
    return caller.person
