"""What the API's endpoints work with. ``broker.wiring`` builds it; tests build it from the same parts."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

import asyncpg
from fastapi import Depends, Request

from broker.api.body_places import BodyPlaces
from broker.api.metrics import ApiMetrics
from broker.api.planning import Planner
from broker.api.provisioning import Provisioner
from broker.api.rate import RateBound
from broker.api.readiness import Readiness
from broker.api.settings import ApiSettings
from broker.audit import Projector
from broker.audit.reader import AuditReader
from broker.log import LogWriter
from broker.log.timestamping import Timestamper
from broker.registry import Registry
from broker.registry.access import AccessTokens, Caller
from broker.registry.packs import PackShelf
from broker.reports.suppression import DEFAULT_THRESHOLD
from schemas.errors import NotAuthenticated, NotPermitted


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The parts. ``clock`` is the real clock (tokens, keys, directory); the planner has the business clock of its own."""

    settings: ApiSettings
    pool: asyncpg.Pool
    registry: Registry
    tokens: AccessTokens
    log: LogWriter
    planner: Planner
    shelf: PackShelf
    provisioner: Provisioner
    readiness: Readiness
    metrics: ApiMetrics
    projector: Projector
    audit: AuditReader
    clock: Callable[[], datetime]
    timestamper: Timestamper | None = None
    report_threshold: int = DEFAULT_THRESHOLD
    """Counts of children below this are not shown."""
    audit_rate: RateBound = field(default_factory=RateBound)
    """How often one person may ask the audit."""
    publishing: asyncio.Lock = field(default_factory=asyncio.Lock)
    publishing_bodies: BodyPlaces = field(default_factory=BodyPlaces)
    """Held while a directory is taken in."""


def get_context(request: Request) -> ApiContext:
    """Return the application's context."""
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(get_context)]


def read_bearer_token(request: Request) -> str:
    """Return the bearer token of a request.

    Raises:
        NotAuthenticated: there is none, or more than one.
    """
    headers = request.headers.getlist("authorization")
    if len(headers) != 1:
        raise NotAuthenticated
    scheme, _, token = headers[0].partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated
    return token


async def authenticate_caller(request: Request, context: Context) -> Caller:
    """Return who is calling, an agency or a person.

    Raises:
        NotAuthenticated: nobody that we know.
    """
    return await context.tokens.authenticate(read_bearer_token(request))


async def authenticate_agency(caller: Annotated[Caller, Depends(authenticate_caller)]) -> Caller:
    """Return the calling agency's system.

    Raises:
        NotPermitted: a person is calling.
    """
    if caller.person is not None:
        raise NotPermitted("only an agency's own system may do this")
    return caller


async def authenticate_officer(caller: Annotated[Caller, Depends(authenticate_caller)]) -> Caller:
    """Return the calling officer of the authority.

    Raises:
        NotPermitted: the caller is no officer.
    """
    if caller.person is None or "authority_officer" not in caller.person.roles:
        raise NotPermitted("only an officer of the authority may do this")
    return caller


async def authenticate_person(caller: Annotated[Caller, Depends(authenticate_caller)]) -> Caller:
    """Return the calling person.

    Raises:
        NotPermitted: an agency's system is calling.
    """
    if caller.person is None:
        raise NotPermitted("only a person may do this, with their own key")
    return caller


AnyCaller = Annotated[Caller, Depends(authenticate_caller)]
PersonCaller = Annotated[Caller, Depends(authenticate_person)]
AgencyCaller = Annotated[Caller, Depends(authenticate_agency)]
OfficerCaller = Annotated[Caller, Depends(authenticate_officer)]
