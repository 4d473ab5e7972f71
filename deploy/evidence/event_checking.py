"""What packs and files of proofs have in common: authority → directory → log key and witnesses → checkpoint → every event."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from deploy.evidence.pack import Files
from deploy.evidence.quorum import describe_quorum, describe_shortage, find_quorum
from deploy.evidence.verdict import Verdict
from schemas.canonical import canonical_bytes, decode_base64url, parse_json, parse_object
from schemas.checkpoint import (
    Checkpoint,
    NoteVerifier,
    read_checkpoint,
    read_proof,
    verify_checkpoint,
    verify_proof,
)
from schemas.directory import Directory
from schemas.errors import MalformedMessage
from schemas.keys import VerifyingKeys
from schemas.log_entry import commit_event
from schemas.signed_directory import verify_directory

MAX_BYTES: Final = 256 * 1024 * 1024
_SHOWN: Final = 10
_WHOLE: Final = 3
"""So many events are shown whole, in ASCII; of more, kind and date."""
EVENTS_NOT_PROVED: Final = (
    "that what was logged is true: an event is the word of whoever caused it",
    "that nothing else was logged: the log alone shows that, to its auditors",
)


class EventChecker:
    """Checks the events of ``files``. ``authority``: the pinned keys, or none: then those in the files are used, and the verdict says so."""

    def __init__(self, files: Files, authority: Sequence[VerifyingKeys] | None) -> None:
        self._files = files
        self._authority = authority
        self._directories: dict[int, Directory] = {}
        self._checkpoint: Checkpoint | None = None
        self._events: list[tuple[int, str, bytes]] = []
        self._erased: set[int] = set()
        self._entries: dict[int, bytes] = {}
        """Position to what the log holds there."""
        self.verdict = Verdict()

    def check_log(self) -> bool:
        """Check the directory, the checkpoint and its cosignatures; return whether events can be held against it."""
        verdict = self.verdict
        if not verdict.attempt("directory", self._check_directory):
            return False
        if self._authority is None:
            verdict.open.append("whose log this is: give the partnership's trust file (--trust)")
        if not verdict.attempt("checkpoint", self._check_checkpoint):
            return False
        self._check_witnesses()
        return True

    def _check_directory(self) -> str:
        held = parse_object(self._files["directory.json"], max_bytes=MAX_BYTES, field="directory.json")
        keys = self._authority or (VerifyingKeys.from_jwks(*held["authority"]),)
        for signed in held["versions"]:
            directory = verify_directory(canonical_bytes(signed), keys)
            self._directories[directory.version] = directory
        newest = self._directories[max(self._directories)]
        by = "the pinned authority" if self._authority else "the authority that it names itself"
        return f"{len(self._directories)} directory version(s) of {newest.partnership.id} signed by {by}"

    def _newest(self) -> Directory:
        return self._directories[max(self._directories)]

    def _check_checkpoint(self) -> str:
        note = self._files["checkpoint.txt"].decode()
        self._checkpoint = verify_checkpoint(note, NoteVerifier.from_text(self._newest().hub.log_verifier))
        hub = self._newest().hub
        if hub.earlier:
            lost = read_checkpoint(hub.starting_checkpoint).size - hub.earlier[-1].kept_size
            self.verdict.proved.append(
                f"the log is in epoch {hub.epoch}: the authority signed that {hub.earlier[-1].kept_size} entries were kept of"
                f" the epoch before and {lost} that witnesses had seen were lost"
            )
        return f"log {self._checkpoint.origin}: {self._checkpoint.size} entries, signed by its key"

    def _check_witnesses(self) -> None:
        directory = self._newest()
        note = self._files["checkpoint.txt"].decode()
        quorum = find_quorum(note, directory)
        if quorum is None:
            self.verdict.open.append(f"that witnesses saw this log: {describe_shortage(note, directory)}")
        else:
            self.verdict.proved.append(f"it was so no later than {describe_quorum(quorum, directory)}")

    def _check_events(self) -> str:
        log = NoteVerifier.from_text(self._newest().hub.log_verifier)
        for item in read_list(self._files["events.json"]):
            proof = read_proof(item["proof"])
            if item["event"] is None:
                entry = decode_base64url(item["entry"], field="entry")
                if proof.index != item["position"] or verify_proof(proof, entry, log) != self._checkpoint:
                    raise MalformedMessage("an entry is not in the log where the pack says", field="events.json")
                self._keep(item["position"], entry)
                self._erased.add(item["position"])
                continue
            event = decode_base64url(item["event"], field="event")
            entry = event if item["salt"] is None else commit_event(event, decode_base64url(item["salt"], field="salt"))
            if proof.index != item["position"] or verify_proof(proof, entry, log) != self._checkpoint:
                raise MalformedMessage("an event is not in the log where the pack says", field="events.json")
            members = parse_object(event, max_bytes=MAX_BYTES, field="event")
            if members.get("event") != item["kind"]:
                raise MalformedMessage("an event is of another kind", field="events.json")
            self._keep(item["position"], entry)
            self._events.append((item["position"], item["kind"], event))
        self._check_erased()
        return f"{len(self._events)} events are in that log, each at its place"

    def _keep(self, position: int, entry: bytes) -> None:
        if position in self._entries:
            raise MalformedMessage("an event is there twice", field="events.json")
        self._entries[position] = entry

    def _check_erased(self) -> None:
        """An event may be missing only where another says that it was erased; its commitment is in the log all the same."""
        said = {position: event for event in self._of_kind("erased") for position in event["entries"]}
        if not self._erased <= said.keys():
            raise MalformedMessage("an event is missing, and nothing says that it was erased", field="events.json")
        for at, reason in sorted({(said[p]["at"], said[p]["reason_code"]) for p in self._erased}):
            count = sum((said[p]["at"], said[p]["reason_code"]) == (at, reason) for p in self._erased)
            self.verdict.open.append(
                f"what {count} events said: erased on {at} ({reason}); their commitments are intact"
            )

    def _of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [
            parse_object(event, max_bytes=MAX_BYTES, field="event") for _, found, event in self._events if found == kind
        ]


class ProofsChecker(EventChecker):
    """Checks a file of events with their proofs (``schemas.event_proofs``)."""

    def check(self) -> Verdict:
        """Check everything and return the verdict."""
        if self.check_log() and self.verdict.attempt("events", self._check_events):
            self._list_events()
        return self.verdict

    def _check_erased(self) -> None:
        if not self._events and not self._erased:
            raise MalformedMessage("holds no event", field="events.json")
        if self._erased:
            self.verdict.open.append(
                f"what {len(self._erased)} events said: the log holds their commitments, and their bytes are not here (erased)"
            )

    def _list_events(self) -> None:
        for position, kind, event in sorted(self._events)[:_SHOWN]:
            members = parse_object(event, max_bytes=MAX_BYTES, field="event")
            words = (
                json.dumps(members) if len(self._events) <= _WHOLE else f"{kind}, dated {members.get('at', 'never')}"
            )
            self.verdict.proved.append(f"event {position}: {words}")
        if len(self._events) > _SHOWN:
            self.verdict.proved.append(f"and {len(self._events) - _SHOWN} more")


def read_list(data: bytes) -> list[Mapping[str, Any]]:
    """Return a JSON list.

    Raises:
        MalformedMessage: it is not one.
    """
    found = parse_json(data, max_bytes=MAX_BYTES, field="events.json")
    if not isinstance(found, list):
        raise MalformedMessage("must be a list", field="events.json")
    return found
