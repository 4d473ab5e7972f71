"""Verifying an evidence pack offline: nothing in it is believed but what the pinned authority's signature leads to.

authority → directory → log key and witnesses → checkpoint → every event; authority → directory → agencies' keys → envelopes and receipts.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cryptography.x509 import Certificate

from deploy.evidence.event_checking import MAX_BYTES, EventChecker, read_list
from deploy.evidence.pack import Files, read_manifest
from deploy.evidence.stories import name_leaf, require_receipt_of_decision, require_told
from deploy.evidence.verdict import Verdict
from schemas.canonical import canonical_bytes, decode_base64url, parse_object, sha256_base64url
from schemas.checkpoint import verify_checkpoint
from schemas.directory import Directory
from schemas.envelope import parse_envelope, verify_envelope
from schemas.envelope.model import REFERRAL_TYP, Manifest
from schemas.envelope.verify import read_manifest as read_manifest_facts
from schemas.errors import MalformedMessage
from schemas.jose.jws import peek_payload, verify_jws
from schemas.keys import VerifyingKeys, pair_verifying_keys
from schemas.log_epochs import find_verifier
from schemas.merkle import verify_consistency
from schemas.objects import digest_object, peek_object
from schemas.objects.events import DecidedEvent
from schemas.objects.receipt import Receipt, check_next_receipt
from schemas.objects.registry import read_object
from schemas.timestamp import verify_timestamp

_LINE = 5
_NAMED = 3
_OURS = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_./-]{0,99}")
"""Members of a line of ``decisions.json``."""
NOT_PROVED = (
    "what the sealed parts say: only whoever has their keys can show it",
    "that a person read it: a receipt is an agency's word",
    "that nothing else was logged about this referral: the log alone shows that, to its auditors",
)


class PackChecker(EventChecker):
    """Checks one pack. ``authority``: the pinned keys, or none: then those in the pack are used, and the verdict says so.

    ``timestamp_roots``: pinned certificates of the authority that timestamped the log.
    """

    def __init__(
        self,
        files: Files,
        authority: Sequence[VerifyingKeys] | None,
        timestamp_roots: Sequence[Certificate] = (),
    ) -> None:
        super().__init__(files, authority)
        self._timestamp_roots = tuple(timestamp_roots)
        self._manifests: dict[str, tuple[str, str]] = {}
        self._compartments: dict[str, dict[str, str]] = {}
        """Message to its sections' compartments."""
        self._decided: dict[str, DecidedEvent] = {}
        """Decisions, by what receipts bind themselves to (``name_leaf``)."""

    def check(self) -> Verdict:
        """Check everything and return the verdict."""
        verdict = self.verdict
        verdict.attempt("files", self._check_files)
        if self.check_log():
            verdict.attempt("events", self._check_events)
            if "timestamp.json" in self._files:
                self._check_timestamp()
        if not self._directories:
            return verdict
        for name in self._list("envelopes/"):
            verdict.attempt(name, lambda name=name: self._check_envelope(name))  # type: ignore[misc]
        for name in self._list("manifests/"):
            verdict.attempt(name, lambda name=name: self._check_manifest(name))  # type: ignore[misc]
        verdict.attempt("decisions", self._check_decisions)
        verdict.attempt("notices", self._check_notices)
        verdict.attempt("receipts", self._check_receipts)
        return verdict

    def _list(self, folder: str) -> list[str]:
        return sorted(name for name in self._files if name.startswith(folder))

    def _check_files(self) -> str:
        listed = read_manifest(self._files)["files"]
        found = {name: sha256_base64url(data) for name, data in self._files.items() if name != "pack.json"}
        changed = sorted(name for name in listed.keys() | found.keys() if listed.get(name) != found.get(name))
        if changed:
            raise MalformedMessage("a file was changed, added or taken away", field=_name_files(changed))
        return f"{len(found)} files are those that the pack lists"

    def _check_timestamp(self) -> None:
        if not self._timestamp_roots:
            self.verdict.open.append("when an authority outside saw this log: give its certificate (--timestamp-ca)")
        else:
            self.verdict.attempt("timestamp", self._verify_timestamp)

    def _verify_timestamp(self) -> str:
        """A timestamp of a checkpoint of this log, which covers every event of the pack; also of what was kept of an earlier epoch."""
        held = parse_object(self._files["timestamp.json"], max_bytes=MAX_BYTES, field="timestamp.json")
        stamped = verify_checkpoint(held["checkpoint"], find_verifier(self._newest().hub, held["checkpoint"]))
        moment = verify_timestamp(
            decode_base64url(held["token"], field="timestamp.token"), held["checkpoint"], self._timestamp_roots
        )
        places = {position for position, _, _ in self._events} | self._erased
        if self._checkpoint is None or max(places, default=0) >= stamped.size:
            raise MalformedMessage("the timestamped checkpoint does not cover every event", field="timestamp.json")
        first, second = sorted((stamped, self._checkpoint), key=lambda c: c.size)
        path = [decode_base64url(node, field="timestamp.consistency") for node in held["consistency"]]
        if not verify_consistency(first.size, second.size, first.root, second.root, path):
            raise MalformedMessage("the timestamped checkpoint is of another log", field="timestamp.json")
        return f"it was so no later than {moment:%d %B %Y %H:%M:%S} UTC: timestamped by an authority outside (RFC 3161)"

    def _check_envelope(self, name: str) -> str:
        body = self._files[name]
        message_id = name.removeprefix("envelopes/").removesuffix(".json")
        version = int(read_manifest(self._files)["directory_versions"][message_id])
        unverified = parse_envelope(body)
        sender = unverified.claimed_sender()
        accepted = next(e for e in [*self._of_kind("accepted"), {}] if not e or e["message_id"] == message_id)
        if not accepted:
            raise MalformedMessage("the log holds no acceptance of it", field="events.json")
        keys = _signing_keys(self._directories[version], sender)
        # As of its own date: whether it was fresh when it came is the hub's judgement, and the log's acceptance its word for it.
        issued_at = read_manifest_facts(peek_payload(unverified.manifest)).issued_at
        verified = verify_envelope(unverified, keys, now=issued_at, sender=accepted["sender"])
        if (verified.manifest_digest, verified.manifest.message_id) != (accepted["manifest_digest"], message_id):
            raise MalformedMessage("the log accepted another envelope under this id", field=name)
        self._require_subject(verified.manifest)
        self._manifests[message_id] = (verified.manifest_digest, sender)
        self._compartments[message_id] = {s: d.compartment.value for s, d in verified.descriptors.items()}
        return f"message {message_id} is what {sender} signed, and what the log says was accepted at {accepted['at']}"

    def _check_manifest(self, name: str) -> str:
        """The sealed bytes are gone; what the sender signed of them is left, and the log says when they were erased."""
        message_id = name.removeprefix("manifests/").removesuffix(".json")
        accepted = next(e for e in [*self._of_kind("accepted"), {}] if not e or e["message_id"] == message_id)
        erased = [
            e for e in self._of_kind("erased") if e.get("message_id") == message_id and e["scope"] == "ciphertext"
        ]
        if not accepted or not erased:
            raise MalformedMessage("the log does not say that its sealed bytes were erased", field=name)
        version = int(read_manifest(self._files)["directory_versions"][message_id])
        jws = parse_object(self._files[name], max_bytes=MAX_BYTES, field=name)
        payload = verify_jws(jws, _signing_keys(self._directories[version], accepted["sender"]), REFERRAL_TYP)
        found = read_manifest_facts(payload)
        signed = (found.message_id, found.sender, sha256_base64url(payload))
        if signed != (message_id, accepted["sender"], accepted["manifest_digest"]):
            raise MalformedMessage("the log accepted another envelope under this id", field=name)
        self._require_subject(found)
        self._manifests[message_id] = (accepted["manifest_digest"], accepted["sender"])
        return (
            f"message {message_id} is what {found.sender} signed, and what the log says was accepted at {accepted['at']};"
            f" its sealed bytes were erased on {erased[0]['at']} ({erased[0]['reason_code']}), the commitment to them is intact"
        )

    def _require_subject(self, manifest: Manifest) -> None:
        if read_manifest(self._files).get("subject") not in {manifest.referral_id, manifest.message_id}:
            raise MalformedMessage("the pack is said to be about something else", field="pack.json")

    def _check_decisions(self) -> str:
        policies = {directory.policy_digest for directory in self._directories.values()}
        unnamed = 0
        for position, kind, event in self._events:
            if kind != "decided":
                continue
            decided = DecidedEvent.from_bytes(event)
            if self._manifests.get(decided.message_id) != (decided.manifest_digest, decided.sender):
                raise MalformedMessage("a decision is about another envelope", field="events.json")
            unnamed += decided.policy_digest not in policies
            self._decided[name_leaf(self._entries[position])] = decided
        if unnamed:
            self.verdict.open.append(
                f"by which policy {unnamed} decisions were made: no directory here names its pack, so no officer's signature does"
            )
        return f"{len(self._decided)} decisions bind those envelopes"

    def _check_notices(self) -> str:
        """The reasons: what each sender was told, by the digest that the log holds, and the same in the list for people."""
        told: list[dict[str, Any]] = []
        names = set()
        for event in (*self._of_kind("accepted"), *self._of_kind("redecided")):
            first = event["event"] == "accepted"
            name = f"notices/{event['message_id'] if first else event['notice_sha256']}.json"
            data = self._files[name]
            if sha256_base64url(data) != event["notice_sha256"]:
                raise MalformedMessage("the sender was told something else", field="notices")
            notice = parse_object(data, max_bytes=MAX_BYTES, field="notice")
            told += [_tell(event, notice.get("cause"), decision) for decision in notice["decisions"]]
            self._require_told(event, notice["decisions"])
            names.add(name)
        if names != set(self._list("notices/")):
            raise MalformedMessage("what a sender was told is missing, or was never logged", field="notices")
        self._check_listed(told)
        return f"{len(told)} decisions with their rules and reasons are those that the senders were told"

    def _require_told(self, event: Mapping[str, Any], told: Sequence[Mapping[str, Any]]) -> None:
        made = {(d.message_id, d.delivery_id, d.at): d for d in self._decided.values()}
        for decision in told:
            decided = made.get((event["message_id"], decision["delivery_id"], _instant(event["at"])))
            if decided is not None:  # ``_check_listed`` finds what was told and never decided
                require_told(decided, decision, self._compartments.get(event["message_id"], {}))

    def _check_listed(self, told: Sequence[Mapping[str, Any]]) -> None:
        """The list for people has each decision of the log once, with exactly what its sender was told of it, or nothing."""
        listed = read_list(self._files["decisions.json"])
        made = Counter((e["message_id"], e["delivery_id"], _instant(e["at"])) for e in self._of_kind("decided"))
        if Counter((line["message_id"], line["delivery_id"], _instant(line["decided_at"])) for line in listed) != made:
            raise MalformedMessage("is not a list of the decisions that were logged", field="decisions.json")
        said = [line for line in listed if line["decision"] is not None]
        silent = [line for line in listed if line["decision"] is None and line["cause"] is None]
        same = sorted(map(canonical_bytes, said)) == sorted(map(canonical_bytes, told))
        if not same or len(said) + len(silent) != len(listed) or any(len(line) != _LINE for line in silent):
            raise MalformedMessage("is not what the sender was told", field="decisions.json")

    def _check_receipts(self) -> str:
        logged = {event["receipt_digest"]: event for event in self._of_kind("receipt")}
        chains: dict[tuple[str, str], list[tuple[str, Receipt]]] = {}
        found: dict[str, Receipt] = {}
        erased = {name_leaf(self._entries[position]) for position in self._erased}
        for name in self._list("receipts/"):
            body = self._files[name]
            recipient = str(peek_object(body).get("recipient"))
            keys = [k for directory in self._directories.values() for k in _signing_keys(directory, recipient)]
            receipt = read_object("receipt", body, keys)
            digest = digest_object(body)
            if not isinstance(receipt, Receipt) or digest not in logged:
                raise MalformedMessage("a receipt is not in the log", field=name)
            if self._manifests.get(receipt.message_id) != (receipt.manifest_digest, receipt.sender):
                raise MalformedMessage("a receipt is of another envelope", field=name)
            require_receipt_of_decision(receipt, logged[digest], self._decided, erased)
            found[digest] = receipt
        if found.keys() != logged.keys():
            raise MalformedMessage("a receipt that the log holds is missing", field="receipts")
        for digest in (event["receipt_digest"] for event in self._of_kind("receipt")):
            receipt = found[digest]
            chain = chains.setdefault((receipt.delivery_id, receipt.decision_leaf), [])
            check_next_receipt(receipt, chain)
            chain.append((digest, receipt))
        return f"{len(found)} receipts are signed by their recipients, logged, and in unbroken chains"


def _name_files(names: Sequence[str]) -> str:
    """Return the first names that a pack of ours could have; whoever made another wrote its names, and they are not repeated."""
    ours = [name for name in names if _OURS.fullmatch(name)][:_NAMED]
    more = len(names) - len(ours)
    return ", ".join([*ours, f"{more} more"] if more else ours)


def _tell(event: Mapping[str, Any], cause: str | None, decision: Mapping[str, Any]) -> dict[str, Any]:
    line = {"message_id": event["message_id"], "delivery_id": decision["delivery_id"], "decided_at": event["at"]}
    return line | {"cause": cause, "decision": decision}


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _signing_keys(directory: Directory, agency_id: str) -> tuple[VerifyingKeys, ...]:
    agency = directory.find_agency(agency_id)
    return pair_verifying_keys(agency.keys.signing, revoked=agency.keys.revoked) if agency else ()
