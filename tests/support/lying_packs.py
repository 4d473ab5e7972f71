"""A hub that lies from the first event on: it owns the log's key, and witnesses cosign its log, because it only grows. It has no agency's key, no officer's."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from deploy.evidence.pack import Files, seal_pack
from schemas.canonical import canonical_bytes, decode_base64url, encode_base64url, sha256_base64url
from schemas.checkpoint import write_proof
from schemas.keys import Jwk
from schemas.log_entry import commit_event
from schemas.merkle import prove_inclusion
from tests.support.log_server import ServedLog


@dataclass
class Story:
    """What the hub says had happened: events in order (``kind``, ``event``, ``salt``), the other files, and what the pack says of itself."""

    events: list[dict[str, Any]]
    files: Files = field(repr=False)
    facts: dict[str, Any]

    def find(self, kind: str, **members: Any) -> dict[str, Any]:
        """Return the first event of a kind with these members."""
        found = (item["event"] for item in self.events if item["kind"] == kind)
        return next(e for e in found if all(e.get(name) == value for name, value in members.items()))

    def retell(self, decided: dict[str, Any], **changes: Any) -> None:
        """Tell the sender something else of a first decision, everywhere: in the notice, its digest in the log, and the list for people."""
        accepted = self.find("accepted", message_id=decided["message_id"])
        name = f"notices/{decided['message_id']}.json"
        notice = json.loads(self.files[name])
        listed = json.loads(self.files["decisions.json"])
        told = [line["decision"] for line in listed if line["message_id"] == decided["message_id"] and line["decision"]]
        for decision in (*notice["decisions"], *told):
            if decision["delivery_id"] == decided["delivery_id"]:
                decision.update(changes)
        self.files[name] = canonical_bytes(notice)
        self.files["decisions.json"] = json.dumps(listed, indent=1).encode()
        accepted["notice_sha256"] = sha256_base64url(self.files[name])


class Liar:
    """Tells changed stories of one honest pack, with a log that bears each of them out."""

    def __init__(self, files: Files, log_jwk: Jwk, origin: str, cosign: Callable[[str], str]) -> None:
        """Take the pack, the log's key and origin, and how witnesses cosign a checkpoint."""
        self._files = files
        self._log_jwk = log_jwk
        self._origin = origin
        self._cosign = cosign

    def tell(self, change: Callable[[Story], None]) -> Files:
        """Return the pack of a changed story."""
        listed = json.loads(self._files["events.json"])
        events = [
            {
                "kind": item["kind"],
                "event": json.loads(decode_base64url(item["event"])),
                "salt": None if item["salt"] is None else decode_base64url(item["salt"]),
            }
            for item in listed
        ]
        facts = {k: v for k, v in json.loads(self._files["pack.json"]).items() if k not in {"files", "format"}}
        story = Story(events, {n: d for n, d in self._files.items() if n != "pack.json"}, facts)
        change(story)
        return self._write(story)

    def _write(self, story: Story) -> Files:
        bodies = [canonical_bytes(item["event"]) for item in story.events]
        salts = [item["salt"] for item in story.events]
        pairs = list(zip(bodies, salts, strict=True))
        log = ServedLog([b if s is None else commit_event(b, s) for b, s in pairs], self._log_jwk, origin=self._origin)
        note, size = log.note(), len(pairs)
        shown = [
            {
                "position": number,
                "kind": item["kind"],
                "event": encode_base64url(body),
                "salt": None if salt is None else encode_base64url(salt),
                "proof": write_proof(number, prove_inclusion(number, size, log.read_node), note),
            }
            for number, (item, (body, salt)) in enumerate(zip(story.events, pairs, strict=True))
        ]
        files = story.files | {
            "checkpoint.txt": (note + self._cosign(note)).encode(),
            "events.json": canonical_bytes(shown),
        }
        return seal_pack(files, **story.facts)
