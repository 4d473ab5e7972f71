"""Making an evidence pack from the hub's records. Making one is itself an event of the log, written first.

The hub has no content: the pack holds sealed envelopes, decisions, receipts, events with their salts, proofs, and the directory that says whose keys
these are. Whoever holds the section keys can open the sealed parts; whoever does not learns what the hub knew.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from broker.delivery.notices import build_notice, describe_decision
from broker.log import LogWriter, NewEvent
from broker.log.proving import prove_events, show_event
from broker.log.reading import prove_growth
from broker.store import translate_errors
from deploy.evidence.pack import Files, seal_pack
from deploy.evidence.summary import write_summary_pdf
from schemas.canonical import canonical_bytes, encode_base64url, sha256_base64url
from schemas.checkpoint import read_checkpoint
from schemas.decision import Decision
from schemas.directory import Directory
from schemas.errors import NotFound
from schemas.objects import peek_object

MAX_MESSAGES = 100
README = """An evidence pack of a Safelane hub.

safelane verify <this folder or zip> --trust trust.json

checks it without any access to the hub; trust.json is the partnership's trust file, as its officers hand it out.
pack.json        what the pack is about, and the digest of every file
checkpoint.txt   the signed head of the message log, with the witnesses' cosignatures (C2SP tlog-checkpoint, tlog-cosignature)
timestamp.json   where an authority outside timestamped the log: the checkpoint, its token (RFC 3161), and that both are one log
events.json      each event with its salt and its proof under that checkpoint (C2SP tlog-proof)
directory.json   the directory versions that name the keys, signed by the partnership's authority
envelopes/       the referrals as sealed and signed by their senders
manifests/       where the sealed bytes were erased after their time: what their senders signed, digests only
notices/         what each sender was told of the decisions, which the log commits to
receipts/        receipts as signed by their recipients
decisions.json   each decision with rule, reason and authority, as its sender was told
summary.pdf      the same for people
"""


async def export_evidence(
    pool: asyncpg.Pool, log: LogWriter, searched_id: str, authority: Sequence[dict[str, Any]], *, by: str, now: datetime
) -> Files:
    """Return the pack of a referral or message id. ``authority`` is the pair of JWKs that signs the directory.

    Raises:
        NotFound: there is no such id; the attempt is logged all the same.
        StoreUnavailable: PostgreSQL does not answer; nothing is shown that cannot be logged.
    """
    with translate_errors():
        async with pool.acquire(timeout=10) as connection:
            async with connection.transaction():
                event = NewEvent.salted("export", {"at": now.isoformat(), "by": by, "subject": searched_id})
                await log.append(connection, [event], at=now)
            messages = await connection.fetch(
                "SELECT message_id, referral_id, sender, revision, kind, received_at, directory_version, event_id, body, manifest, notice"
                " FROM messages WHERE referral_id = $1 OR message_id = $2 ORDER BY received_at, message_id LIMIT $3",
                searched_id,
                _read_uuid(searched_id),
                MAX_MESSAGES,
            )
            if not messages:
                raise NotFound("no message or referral has this id", field="id")
            return await _collect(connection, messages, searched_id, authority, by=by, now=now)


@dataclass(frozen=True, slots=True)
class _Records:
    """What the hub has of the messages that a pack is about. ``notices`` are as ``_write_later_notices`` returns them."""

    messages: Sequence[Any]
    deliveries: Sequence[Any]
    later: Sequence[Any]
    receipts: Sequence[Any]
    versions: Sequence[Any]
    erased: Sequence[Any]
    notices: Sequence[tuple[UUID, UUID, bytes]]

    def list_events(self) -> list[UUID]:
        """Return the ids of the log's events about these records."""
        rows = (*self.messages, *self.deliveries, *self.later, *self.receipts, *self.erased)
        return [row["event_id"] for row in rows] + [told for told, _, _ in self.notices]


async def _collect(
    connection: Any,
    messages: Sequence[Any],
    searched_id: str,
    authority: Sequence[dict[str, Any]],
    *,
    by: str,
    now: datetime,
) -> Files:
    records = await _fetch_records(connection, messages)
    directory = Directory.model_validate(peek_object(records.versions[-1]["body"]))
    note, proven = await prove_events(connection, records.list_events(), directory)
    decisions = [_describe(row) for row in (*records.deliveries, *records.later)]
    files: Files = {
        "README.txt": README.encode(),
        "checkpoint.txt": note.encode(),
        "events.json": canonical_bytes([show_event(event) for event in proven]),
        "decisions.json": json.dumps(_tell_decisions(records, decisions), indent=1).encode(),
        "directory.json": canonical_bytes(
            {"authority": list(authority), "versions": [json.loads(row["body"]) for row in records.versions]}
        ),
    }
    stamp = await _find_timestamp(connection, proven[-1].position, note)
    if stamp is not None:
        files["timestamp.json"] = canonical_bytes(stamp)
    files |= _list_sealed(records)
    files["summary.pdf"] = write_summary_pdf(searched_id, messages, decisions, records.receipts, note, now=now)
    files |= {f"notices/{sha256_base64url(notice)}.json": notice for _, _, notice in records.notices}
    under = {str(row["message_id"]): row["directory_version"] for row in messages}
    return seal_pack(files, subject=searched_id, made_at=now.isoformat(), made_by=by, directory_versions=under)


async def _fetch_records(connection: Any, messages: Sequence[Any]) -> _Records:
    ids = [row["message_id"] for row in messages]
    deliveries = await connection.fetch(
        "SELECT message_id, delivery_id, recipient, decision, decided_at, state, event_id FROM deliveries"
        " WHERE message_id = ANY($1) ORDER BY message_id, number",
        ids,
    )
    later = await connection.fetch(
        "SELECT message_id, delivery_id, cause, decision, decided_at, directory_version, event_id FROM redecisions WHERE message_id = ANY($1)"
        " ORDER BY decided_at",
        ids,
    )
    receipts = await connection.fetch(
        "SELECT receipt_digest, delivery_id, state, received_at, event_id, body FROM receipts WHERE message_id = ANY($1)"
        " ORDER BY received_at, receipt_digest",
        ids,
    )
    versions = await connection.fetch(
        "SELECT version, body FROM directory_versions WHERE version = ANY($1) OR version = (SELECT max(version) FROM directory_versions)"
        " ORDER BY version",
        sorted({row["directory_version"] for row in (*messages, *later)}),
    )
    erased = await connection.fetch("SELECT event_id FROM erasures WHERE subject_id = ANY($1) ORDER BY erased_at", ids)
    notices = await _write_later_notices(connection, ids)
    return _Records(messages, deliveries, later, receipts, versions, erased, notices)


def _tell_decisions(records: _Records, decisions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each decision as its sender was told of it, of those that have one."""
    spoken = {event_id for _, event_id, _ in records.notices} | {row["event_id"] for row in records.deliveries}
    rows = zip((*records.deliveries, *records.later), decisions, strict=True)
    return [_show_told(line, is_told=row["event_id"] in spoken) for row, line in rows if line["decision"]]


def _list_sealed(records: _Records) -> Files:
    """Return the files of what the hub keeps as it was sealed or signed by others, and of what it told the senders at first."""
    files: Files = {}
    for folder, column in (("envelopes", "body"), ("manifests", "manifest"), ("notices", "notice")):
        files |= {f"{folder}/{row['message_id']}.json": row[column] for row in records.messages if row[column]}
    for number, row in enumerate(records.receipts, 1):
        if row["body"]:
            files[f"receipts/{number:03d}-{row['receipt_digest']}.json"] = row["body"]
    return files


async def _write_later_notices(connection: Any, ids: Sequence[UUID]) -> list[tuple[UUID, UUID, bytes]]:
    """Return the events by which senders were told of later decisions, the decisions' own events, and what was told, built anew: the first has its
    digest.
    """
    rows = await connection.fetch(
        "SELECT e.event_id, p.event, l.*, m.referral_id, m.revision, m.manifest_digest FROM log_payloads p JOIN log_entries e USING (event_id)"
        " JOIN messages m USING (message_id) CROSS JOIN LATERAL (SELECT r.decision, r.cause, r.event_id AS decided FROM redecisions r"
        " JOIN log_entries d ON d.event_id = r.event_id WHERE r.message_id = p.message_id AND d.position < e.position"
        " AND r.delivery_id = convert_from(p.event, 'UTF8')::jsonb ->> 'delivery_id' ORDER BY d.position DESC LIMIT 1) l"
        " WHERE p.message_id = ANY($1::uuid[]) AND e.kind = 'redecided' AND p.event IS NOT NULL ORDER BY e.position",
        list(ids),
    )
    found = []
    for row in rows:
        event = json.loads(row["event"])
        notice = build_notice(
            "decided",
            at=datetime.fromisoformat(event["at"]),
            message_id=event["message_id"],
            referral_id=row["referral_id"],
            revision=row["revision"],
            manifest_digest=row["manifest_digest"],
            decisions=[Decision.model_validate_json(row["decision"])],
            cause=row["cause"],
        )
        found.append((row["event_id"], row["decided"], notice.base))
    return found


def _show_told(line: dict[str, Any], *, is_told: bool) -> dict[str, Any]:
    """Return a decision's line with what its sender was told: what no notice says, nothing in a pack could prove."""
    if not is_told:
        return line | {"cause": None, "decision": None}
    return line | {"decision": describe_decision(Decision.model_validate(line["decision"]))}


async def _find_timestamp(connection: Any, position: int, note: str) -> dict[str, Any] | None:
    """Return the first timestamped checkpoint that covers ``position``, with the proof that it and ``note`` are of one log; none if there is none."""
    row = await connection.fetchrow(
        "SELECT t.size, t.token, c.note FROM log_timestamps t JOIN log_checkpoints c USING (size) WHERE t.size > $1 ORDER BY t.size LIMIT 1",
        position,
    )
    if row is None:
        return None
    first, second = sorted((int(row["size"]), read_checkpoint(note).size))
    growth = await prove_growth(connection, first, second)
    return {
        "checkpoint": row["note"],
        "token": encode_base64url(row["token"]),
        "consistency": [encode_base64url(node) for node in growth],
    }


def _describe(row: Any) -> dict[str, Any]:
    known = {
        "message_id": str(row["message_id"]),
        "delivery_id": row["delivery_id"],
        "decided_at": row["decided_at"].isoformat(),
    }
    return known | {"cause": dict(row).get("cause"), "decision": json.loads(row["decision"])}


def _read_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
