"""Late release at the sender: the hub asks, this gateway verifies the approvers' own signatures, and by its policy or a person's click signs an addendum.

The keys of held sections have never left this store. A request that does not verify gives nothing and raises the alarm.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from adapters.gateway.identity.directory_keeper import VerifiedDirectory
from adapters.gateway.outgoing.outbox import Outbox
from adapters.gateway.outgoing.outbox_model import write_instant
from adapters.gateway.outgoing.release_check import ReleaseNotProven, SentDelivery, check_sections, verify_grounds
from adapters.gateway.outgoing.statements import StatementBook
from adapters.gateway.random_ids import new_opaque_id
from adapters.gateway.store import GatewayStore
from schemas.canonical import decode_base64url, parse_object, sha256_base64url
from schemas.envelope import KeyringAddendum, SectionDescriptor, parse_envelope, seal_addendum_keyring
from schemas.envelope.entries import read_openings
from schemas.envelope.verify import read_entries, read_header, read_manifest
from schemas.errors import Conflict, MalformedMessage, NotFound, SafelaneError
from schemas.jose.jws import peek_payload

_log = structlog.get_logger(__name__)

MAX_REQUEST_BYTES = 4 * 1024 * 1024
WAITING, GIVEN, REFUSED, ALARM = "waiting", "given", "refused", "alarm"

RELEASE_MIGRATIONS = (
    """
CREATE TABLE release_request (
  digest TEXT PRIMARY KEY,
  message_id TEXT NOT NULL,
  delivery_id TEXT NOT NULL,
  recipient TEXT NOT NULL,
  cause TEXT NOT NULL,
  asked_at TEXT NOT NULL,
  state TEXT NOT NULL,
  decided_by TEXT,
  decided_at TEXT,
  code TEXT,
  body BLOB NOT NULL
);
""",
)


@dataclass(frozen=True, slots=True)
class ReleaseParts:
    """What late release needs."""

    agency: str
    store: GatewayStore
    outbox: Outbox
    statements: StatementBook


class ReleaseDesk:
    """Takes the hub's requests for keys, and answers each once."""

    def __init__(self, parts: ReleaseParts, *, automatic: bool) -> None:
        """Keep the parts. ``automatic``: a request whose approvals verify is answered at once; else a person confirms it."""
        parts.store.migrate("releases", RELEASE_MIGRATIONS)
        self._parts = parts
        self._automatic = automatic

    def take_in(self, body: bytes, directory: VerifiedDirectory, now: datetime) -> None:
        """Store a request, verify it, and answer it if policy says so. The same request again changes nothing.

        Raises:
            ReleaseNotProven: it asks for what no approval that counts covers.
            MalformedMessage, NotFound: it is not of the form, or about nothing that we sent.
        """
        request = parse_object(body, max_bytes=MAX_REQUEST_BYTES, field="release_request")
        told = {name: value for name, value in request.items() if name not in {"event", "salt", "proof"}}
        digest = sha256_base64url(json.dumps(told, sort_keys=True).encode())
        try:
            fields = (request["message_id"], request["delivery_id"], request["recipient"], request["cause"])
        except KeyError:
            raise MalformedMessage("is not of the form", field="release_request") from None
        sent = self._read_sent(str(fields[0]), str(fields[1]))
        if sent.request.agency != fields[2] or request.get("manifest_digest") != sent.manifest_digest:
            raise ReleaseNotProven("is about another delivery than we sealed", field="release_request")
        try:
            _, urgent = self._check(request, sent, directory, now)
        except ReleaseNotProven as error:
            self._insert(digest, fields, ALARM, body, now, code=error.code)
            _log.critical("release_not_proven", agency=self._parts.agency, field=error.field)
            raise
        with self._parts.store.transaction():
            new = self._insert(digest, fields, WAITING, body, now)
            # Whoever claims danger answers for it in the review that is open already: the child does not wait for a click.
            if new and (self._automatic or urgent):
                self.give(digest, directory, by="policy", now=now)

    def give(self, digest: str, directory: VerifiedDirectory, *, by: str, now: datetime) -> str:
        """Sign and queue the addendum that a request asks for; return its digest.

        Raises:
            NotFound: there is no such request.
            Conflict: it is answered already.
            ReleaseNotProven: its approvals no longer count.
            Undeliverable: the recipient has no valid key now.
        """
        with self._parts.store.transaction():
            row = self._row(digest)
            if row["state"] != WAITING:
                raise Conflict(f"is {row['state']} already", field="approval")
            body = self._parts.store.open(f"release_request.body:{digest}", row["body"])
            request = parse_object(body, max_bytes=MAX_REQUEST_BYTES, field="release_request")
            sent = self._read_sent(row["message_id"], row["delivery_id"])
            digests, _ = self._check(request, sent, directory, now)
            key = directory.find_encryption_key(sent.request.agency, now)
            sections = tuple(sorted(request["sections"]))
            keyring, descriptor = seal_addendum_keyring(
                (sent.message_id, self._parts.agency, sent.request.delivery_id),
                self._read_keys(sent.message_id, sections),
                key.jwk,
            )
            addendum = KeyringAddendum(
                addendum_id=new_opaque_id(),
                message_id=sent.message_id,
                referral_id=str(request["referral_id"]),
                manifest_digest=sent.manifest_digest,
                sender=self._parts.agency,
                delivery_id=sent.request.delivery_id,
                recipient=sent.request.agency,
                sections=sections,
                keyring=keyring,
                keyring_descriptor=descriptor,
                approvals=digests,
                issued_at=now,
            )
            statement = self._parts.statements.sign("keyring_addendum", addendum, subject=sent.message_id)
            self._decide(digest, GIVEN, by, now)
        _log.info("late_release_given", delivery_id=sent.request.delivery_id, by=by)
        return statement.digest

    def refuse(self, digest: str, *, by: str, reason_code: str, now: datetime) -> None:
        """Give nothing. The hold stays in the hub's queue until its owner decides it there.

        Raises:
            NotFound: there is no such request.
            Conflict: it is answered already.
        """
        with self._parts.store.transaction():
            if self._row(digest)["state"] != WAITING:
                raise Conflict("is answered already", field="approval")
            self._decide(digest, REFUSED, by, now, code=reason_code)

    def withdraw(self, message_id: str, delivery_id: str, *, by: str, reason_code: str, now: datetime) -> int:
        """End what is still asked of a delivery, because an approver refused it after all; return how many requests that ended."""
        with self._parts.store.transaction() as db:
            done = db.execute(
                "UPDATE release_request SET state = ?, decided_by = ?, decided_at = ?, code = ?"
                " WHERE message_id = ? AND delivery_id = ? AND state = ?",
                (REFUSED, by, write_instant(now), reason_code, message_id, delivery_id, WAITING),
            )
            return done.rowcount

    def list_requests(self) -> list[dict[str, Any]]:
        """Return the requests, newest first: ids, cause, state, and of each that waits the compartments whose keys are asked for."""
        rows = self._parts.store.query(
            "SELECT digest, message_id, delivery_id, recipient, cause, asked_at, state, decided_by, decided_at, code"
            " FROM release_request ORDER BY rowid DESC LIMIT 500"
        )
        return [dict(row) | (self._describe(row["digest"]) if row["state"] == WAITING else {}) for row in rows]

    def _describe(self, digest: str) -> dict[str, Any]:
        """Return what a person must know of a request before giving keys: whose referral, and which compartments."""
        row = self._row(digest)
        body = self._parts.store.open(f"release_request.body:{digest}", row["body"])
        request = parse_object(body, max_bytes=MAX_REQUEST_BYTES, field="release_request")
        try:
            sent = self._read_sent(row["message_id"], row["delivery_id"])
        except SafelaneError:
            return {}  # its sealed bytes are erased, and its keys with them: there is nothing left to give
        asked = {sent.descriptors[s].compartment.value for s in request["sections"] if s in sent.descriptors}
        return {"referral_id": request["referral_id"], "compartments": sorted(asked)}

    def _check(
        self, request: dict[str, Any], sent: SentDelivery, directory: VerifiedDirectory, now: datetime
    ) -> tuple[tuple[str, ...], bool]:
        """Return the digests of what the request rests on, and whether that is a claim of danger."""
        bases, sections = request.get("bases"), request.get("sections")
        if not isinstance(bases, list) or not isinstance(sections, list):
            raise MalformedMessage("is not of the form", field="release_request")
        grounds = verify_grounds(bases, sent, directory, now=now)
        check_sections([str(s) for s in sections], grounds, sent, directory.directory)
        return grounds.digests, bool(grounds.claims)

    def _read_sent(self, message_id: str, delivery_id: str) -> SentDelivery:
        sealed = self._parts.outbox.read_sealed(message_id)
        envelope = parse_envelope(sealed.body)
        payload = peek_payload(envelope.manifest)
        entries = read_openings(envelope.openings, frozenset(read_manifest(payload).digests))
        header = read_header(entries)
        request = next((d for d in header.deliveries if d.delivery_id == delivery_id), None)
        if request is None:
            raise NotFound("there is no such delivery", field="delivery_id")
        return SentDelivery(
            sender=self._parts.agency,
            message_id=message_id,
            manifest_digest=sha256_base64url(payload),
            header=header,
            request=request,
            descriptors=read_entries(entries, "section", "section_id", SectionDescriptor),
        )

    def _read_keys(self, message_id: str, sections: tuple[str, ...]) -> dict[str, tuple[bytes, str]]:
        rows = self._parts.store.query("SELECT section_keys FROM sealing WHERE message_id = ?", (message_id,))
        if not rows or not rows[0]["section_keys"]:
            raise NotFound("the keys of this message are erased", field="message_id")
        keys = json.loads(self._parts.store.open(f"sealing.section_keys:{message_id}", rows[0]["section_keys"]))
        return {
            s: (decode_base64url(keys[s]["k"], field="section_keys"), keys[s]["ciphertext_sha256"]) for s in sections
        }

    def _insert(
        self, digest: str, fields: tuple[Any, ...], state: str, body: bytes, now: datetime, *, code: str | None = None
    ) -> bool:
        with self._parts.store.transaction() as db:
            done = db.execute(
                "INSERT OR IGNORE INTO release_request (digest, message_id, delivery_id, recipient, cause, asked_at, state, code, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    digest,
                    *(str(f) for f in fields),
                    write_instant(now),
                    state,
                    code,
                    self._parts.store.seal(f"release_request.body:{digest}", body),
                ),
            )
            return done.rowcount > 0

    def _decide(self, digest: str, state: str, by: str, now: datetime, *, code: str | None = None) -> None:
        with self._parts.store.transaction() as db:
            db.execute(
                "UPDATE release_request SET state = ?, decided_by = ?, decided_at = ?, code = ? WHERE digest = ?",
                (state, by, write_instant(now), code, digest),
            )

    def _row(self, digest: str) -> Any:
        rows = self._parts.store.query("SELECT * FROM release_request WHERE digest = ?", (digest,))
        if not rows:
            raise NotFound("there is no such request", field="approval")
        return rows[0]
