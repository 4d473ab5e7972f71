"""The directory and keys: passed on as signed, taken in only if the authority or the agency's identity keys signed them."""

from collections.abc import Sequence
from hashlib import sha256

import orjson
from fastapi import APIRouter, Request, Response

from broker.api.answers import answer_json, describe, read_json
from broker.api.context import AgencyCaller, AnyCaller, ApiContext, Context
from broker.api.guard import KIB
from broker.intake.activating import check_activation
from broker.log import NewEvent
from broker.log.reading import read_checkpoint
from broker.registry import DirectorySnapshot, agency_queues, versions
from broker.store import policies as policy_store
from broker.store.pool import translate_errors
from schemas.canonical import canonical_bytes, encode_base64url
from schemas.directory import Directory
from schemas.errors import Conflict, DependencyUnavailable
from schemas.objects import peek_object
from schemas.signed_directory import MAX_DIRECTORY_BYTES, is_active, read_key_announcement, verify_directory

router = APIRouter(prefix="/v1", tags=["directory"])


class AnotherIsPublishing(DependencyUnavailable):
    """Another directory is being taken in."""

    code = "another-is-publishing"
    public_message = "Another directory is being taken in. Try again in a minute."


class AnotherEpoch(Conflict):
    """The directory is of another epoch of the log than the one in which this hub writes."""

    code = "another-log-epoch"
    public_message = "This directory opens another epoch of the log. Stop the hub, and run 'safelane hub open-epoch'."


SIGNED_EXAMPLE = {"payload": "eyJ2ZXJzaW9uIjox…", "signatures": [{"protected": "…", "signature": "…"}] * 2}


@router.get(
    "/directory",
    summary="The signed directory and the agencies' signed encryption keys",
    openapi_extra=describe(
        answer={"authority": [], "directory": SIGNED_EXAMPLE, "keys": [SIGNED_EXAMPLE], "checkpoint": None}
    ),
)
async def get_directory(request: Request, context: Context, caller: AnyCaller) -> Response:
    """Return the newest directory as the authority signed it, to agencies and to the people in it. They verify it against the keys that they
    pinned, not against us.

    ``authority`` is the pair that signed: worth something only to a caller who pinned its digest as the successor's.
    """
    snapshot = caller.snapshot
    etag = _etag(snapshot)
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
            checkpoint = await read_checkpoint(connection)
    body = b'{"authority":%s,"checkpoint":%s,"directory":%s,"keys":[%s]}' % (
        orjson.dumps(context.registry.authority_jwks),
        orjson.dumps(checkpoint),
        snapshot.signed,
        b",".join(snapshot.announcements),
    )
    return Response(body, media_type="application/json", headers={"ETag": etag})


@router.post(
    "/directory",
    status_code=201,
    summary="Publish a directory version that the authority signed",
    openapi_extra=describe(body=SIGNED_EXAMPLE, answer={"version": 2, "sha256": "…"}, status=201),
)
async def publish_directory(request: Request, context: Context) -> Response:
    """Take in the next directory version. The authority's signature is the permission; nobody's token adds to it."""
    # Nobody signed in yet: few bodies are held at once, and only a whole one is verified, one at a time.
    body = await context.publishing_bodies.read(request, max_bytes=MAX_DIRECTORY_BYTES)
    if context.publishing.locked():
        raise AnotherIsPublishing
    async with context.publishing:
        return await _publish(body, context)


async def _publish(body: bytes, context: ApiContext) -> Response:
    directory = verify_directory(body, context.registry.authority_keys)
    if directory.hub.epoch != context.log.epoch:
        raise AnotherEpoch(field="hub.epoch")
    now = context.clock()
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection, connection.transaction():
            added = await versions.insert_directory(connection, body, directory)
            if added:
                earlier = await _read_earlier(connection, directory.version)
                approvals = await check_activation(connection, directory, earlier, context.shelf, now)
                if approvals is not None:
                    await policy_store.insert_activation(
                        connection, directory.version, context.shelf.find_digest(directory), approvals, now
                    )
                events = list_directory_events(body, directory, earlier, approvals or (), at=now.isoformat())
                await context.log.append(connection, events, at=now)
    # Also when it was here before: an earlier attempt may have stopped between the two.
    await context.provisioner.reconcile_quietly(await context.registry.current())
    digest = encode_base64url(sha256(body).digest())
    return answer_json({"version": directory.version, "sha256": digest}, status=201 if added else 200)


@router.post(
    "/keys",
    status_code=201,
    summary="Announce an encryption key, signed by the agency's identity keys",
    openapi_extra=describe(body=SIGNED_EXAMPLE, answer={"kid": "RFC 7638 thumbprint"}, status=201),
)
async def announce_key(request: Request, context: Context, caller: AgencyCaller) -> Response:
    """Take in the caller's own encryption key for others to seal to. The same bytes again answer 200."""
    body = canonical_bytes(await _read_signed(request))
    snapshot = caller.snapshot
    agency = snapshot.directory.find_agency(caller.agency)
    revoked = agency.keys.revoked if agency else ()
    key = read_key_announcement(body, caller.agency, snapshot.signing_keys.get(caller.agency, ()), revoked)
    now = context.clock()
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection, connection.transaction():
            added = await versions.insert_announcement(connection, caller.agency, key, body, now)
            if added:
                members = {
                    "agency": caller.agency,
                    "kid": key.kid,
                    "not_before": key.not_before.isoformat(),
                    "not_after": key.not_after.isoformat(),
                    "at": now.isoformat(),
                }
                await context.log.append(connection, [NewEvent.clear("key", members)], at=now)
    return answer_json({"kid": key.kid}, status=201 if added else 200)


@router.get(
    "/agency",
    summary="The calling agency's own queue",
    openapi_extra=describe(
        answer={
            "agency": "school.oakfield",
            "queue": "safelane.delivery.school.oakfield.…",
            "amqp": {"host": "hub.example.org", "port": 5671, "vhost": "safelane"},
            "directory_version": 2,
        }
    ),
)
async def get_agency(context: Context, caller: AgencyCaller) -> Response:
    """Return where the calling agency fetches its deliveries; ``queue`` is null until RabbitMQ has it."""
    with translate_errors():
        async with context.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
            queue = await agency_queues.read_queue(connection, caller.agency)
    return answer_json(
        {
            "agency": caller.agency,
            "queue": queue,
            "amqp": amqp_address(context),
            "directory_version": caller.snapshot.version,
        }
    )


def amqp_address(context: ApiContext) -> dict[str, str | int]:
    """Return where agencies reach RabbitMQ."""
    settings = context.settings
    return {
        "host": settings.agencies_amqp_host,
        "port": settings.agencies_amqp_port,
        "vhost": settings.agencies_amqp_vhost,
    }


async def _read_signed(request: Request) -> dict[str, object]:
    return await read_json(request, max_bytes=64 * KIB, members=frozenset({"payload", "signatures"}))


async def _read_earlier(connection: versions.Connection, version: int) -> Directory | None:
    """Return the directory before ``version``, in the transaction that added it: publishers come one by one."""
    body = await versions.read_directory_before(connection, version)
    # Only to see what is new in the next one; it may be the last that the authority's predecessor signed.
    return Directory.model_validate(peek_object(body)) if body else None


def list_directory_events(
    body: bytes, directory: Directory, earlier: Directory | None, approvals: Sequence[str], *, at: str
) -> list[NewEvent]:
    """Return clear events: the new version, and every agency or key that it newly revokes."""
    sha = encode_base64url(sha256(body).digest())
    events = [NewEvent.clear("directory", {"version_number": directory.version, "sha256": sha, "at": at})]
    for agency in directory.agencies:
        before = earlier.find_agency(agency.id) if earlier else None
        if before is not None and is_active(before) and not is_active(agency):
            events.append(NewEvent.clear("revocation", {"agency": agency.id, "thumbprint": None, "at": at}))
        known = before.keys.revoked if before else ()
        events += [
            NewEvent.clear("revocation", {"agency": agency.id, "thumbprint": thumbprint, "at": at})
            for thumbprint in agency.keys.revoked
            if thumbprint not in known
        ]
    if earlier is None or earlier.policy_digest != directory.policy_digest:
        members = {"policy_digest": directory.policy_digest, "approvals": list(approvals), "at": at}
        events.append(NewEvent.clear("policy", members))
    return events


def _etag(snapshot: DirectorySnapshot) -> str:
    return f'"{snapshot.version}-{snapshot.change}"'
