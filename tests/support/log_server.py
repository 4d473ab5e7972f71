"""A hub's log in memory, served over HTTP as the hub serves it; it can be forked, cut and made to lie."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import httpx

from schemas.canonical import canonical_bytes, parse_object
from schemas.checkpoint import Checkpoint, sign_checkpoint, write_verifier
from schemas.directory import Directory, HubKeys, WitnessPolicy
from schemas.keys import Jwk, KeyUse, generate_ed25519_jwk, public_part
from schemas.merkle import compute_root, hash_leaf, prove_consistency
from schemas.tiles import TILE_WIDTH, measure_tile, read_tile_path, write_bundle
from tests.support.gateways import StubHub

ORIGIN = "log.example.org/test"


@lru_cache(maxsize=4096)
def _root_of(entries: tuple[bytes, ...]) -> bytes:
    return compute_root(hash_leaf(entry) for entry in entries)


@dataclass
class ServedLog:
    """Entries, and what is shown of them."""

    entries: list[bytes] = field(default_factory=list)
    jwk: Jwk = field(default_factory=lambda: generate_ed25519_jwk(KeyUse.LOG))
    witnessed: int = 0
    lines: dict[int, dict[str, str]] = field(default_factory=dict)
    origin: str = ORIGIN
    missing: tuple[str, ...] = ()
    """Parts of paths that are answered with 404."""

    def grow(self, count: int, name: str = "heartbeat", **members: Any) -> None:
        for _ in range(count):
            self.entries.append(canonical_bytes({"event": name, "size": len(self.entries), **members}))

    def root(self, first: int, end: int) -> bytes:
        """Return the root over the entries from ``first`` up to ``end``, of what they are now."""
        return _root_of(tuple(self.entries[first:end]))

    def note(self, size: int | None = None) -> str:
        size = len(self.entries) if size is None else size
        return sign_checkpoint(Checkpoint(self.origin, size, self.root(0, size)), self.jwk)

    def cosigned(self, size: int) -> str:
        return self.note(size) + "".join(line for _, line in sorted(self.lines.get(size, {}).items()))

    def read_node(self, level: int, index: int) -> bytes:
        return self.root(index << level, (index + 1) << level)

    def answer(self, path: str) -> bytes | None:
        """Return what is at a path below ``/log/``."""
        if any(part in path for part in self.missing):
            return None
        if path in {"checkpoint", "checkpoint/proposed"}:
            return self.note().encode()
        if path == "checkpoint/witnessed":
            return self.cosigned(self.witnessed).encode() if self.witnessed else None
        if path.startswith("consistency/"):
            first, second = map(int, path.split("/")[1:])
            proof = prove_consistency(first, second, self.read_node)
            return "".join(f"{node.hex()}\n" for node in proof).encode()
        _, level, rest = path.split("/", 2)
        number, width = read_tile_path(rest)
        if level == "entries":
            return write_bundle(self.entries[number * TILE_WIDTH : number * TILE_WIDTH + width])
        assert measure_tile(len(self.entries), int(level), number) >= width
        first = number * TILE_WIDTH
        return b"".join(self.read_node(8 * int(level), index) for index in range(first, first + width))


@dataclass
class LoggingHub(StubHub):
    """A stub hub with a log, whose directory names witnesses."""

    log: ServedLog = field(default_factory=ServedLog)
    witnesses: tuple[str, ...] = ()
    quorum: int = 0
    keys: HubKeys | None = None
    """What the authority signed of a log in a later epoch; without it, this log's first."""

    def directory(self, **rest: Any) -> Directory:
        keys = self.keys or HubKeys(log_origin=ORIGIN, log_verifier=write_verifier(ORIGIN, public_part(self.log.jwk)))
        policy = WitnessPolicy(agencies=self.witnesses, quorum=self.quorum)
        return super().directory(**rest).model_copy(update={"hub": keys, "witnesses": policy})

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if self.down or not path.startswith(("/log/", "/v1/log/")):
            return super().answer(request)
        if path == "/v1/log/cosignatures":
            body = parse_object(request.content, max_bytes=9999)
            name = body["line"].split(" ")[1]
            self.log.lines.setdefault(body["size"], {})[name] = body["line"]
            if len(self.log.lines[body["size"]]) >= self.quorum > 0:
                self.log.witnessed = max(self.log.witnessed, body["size"])
            return httpx.Response(201, json={"added": True})
        found = self.log.answer(path.removeprefix("/log/"))
        return httpx.Response(404) if found is None else httpx.Response(200, content=found)


def make_logging_hub(ca_pem: str, *witnesses: str, quorum: int = 0, log: ServedLog | None = None) -> LoggingHub:
    """Return a hub with a log of a few entries."""
    hub = LoggingHub.make(ca_pem, lambda: datetime.now(UTC))
    assert isinstance(hub, LoggingHub)
    hub.witnesses, hub.quorum = witnesses, quorum
    if log is not None:
        hub.log = log
    else:
        hub.log.grow(5)
    return hub
