"""Verifying a log from its tiles alone, over HTTP, and comparing what two witnesses saw."""

import ssl
from pathlib import Path

import httpx

from deploy.evidence.verdict import Verdict
from schemas.checkpoint import NoteVerifier, verify_checkpoint
from schemas.errors import ConfigInvalid, DependencyUnavailable, MalformedMessage
from schemas.log_state import LogState, find_fork, read_log_state
from schemas.merkle import HASH_BYTES, RightEdge, hash_leaf
from schemas.tiles import TILE_WIDTH, TileTree, list_tiles, measure_tile, read_bundle, write_tile_path

TIMEOUT_SECONDS = 30.0


def check_log(
    url: str, ca_pem: str | None, key: str | None, *, transport: httpx.BaseTransport | None = None
) -> Verdict:
    """Fetch the log's checkpoint, tiles and every entry, and rebuild its root. ``key``: the log's verifier key, pinned.

    Raises:
        DependencyUnavailable: the hub does not answer.
        ConfigInvalid: the CA or the key cannot be read.
    """
    verdict = Verdict()
    base = url.rstrip("/").removesuffix("/log")
    context = ssl.create_default_context(cadata=ca_pem)
    with httpx.Client(
        base_url=base, verify=context, timeout=TIMEOUT_SECONDS, trust_env=False, transport=transport
    ) as client:
        try:
            note = _fetch(client, "/log/checkpoint").decode()
            verifier = NoteVerifier.from_text(key or _fetch(client, "/log/key").decode())
            checkpoint = verify_checkpoint(note, verifier)
            verdict.proved.append(f"log {checkpoint.origin}: {checkpoint.size} entries, signed by its key")
            if key is None:
                verdict.open.append(
                    "whose key that is: give the verifier key from the officers' directory, not from this hub (--key)"
                )
            verdict.attempt("entries", lambda: _check_entries(client, checkpoint.size, checkpoint.root))
            verdict.attempt("tiles", lambda: _check_tiles(client, checkpoint.size, checkpoint.root))
        except httpx.HTTPError:
            why = "" if ca_pem else ", or its certificate is of the partnership's own CA: give the trust file (--trust)"
            raise DependencyUnavailable(f"the hub does not answer{why}", field="url") from None
    verdict.open.append("that others were shown the same log: compare witnesses' states (--compare)")
    return verdict


def compare_states(paths: list[Path]) -> Verdict:
    """Compare what witnesses saw: state files, or gateway data folders that hold one.

    Raises:
        ConfigInvalid: one cannot be read.
    """
    verdict = Verdict()
    states: list[LogState] = []
    for path in paths:
        file = path / "log-state.json" if path.is_dir() else path
        try:
            states.append(read_log_state(file.read_bytes()))
        except OSError:
            raise ConfigInvalid("cannot be read", field=path.name) from None
    if len({state.verifier for state in states}) > 1:
        verdict.open.append("that it is one log: the witnesses had different keys for it from their directories")
    for state in states:
        verdict.attempt(state.witness, lambda state=state: _describe(state))  # type: ignore[misc]
    if verdict.broken:
        return verdict
    fork = find_fork(states)
    if fork is not None:
        verdict.broken.append(
            f"the log told two stories at {fork.size} entries: both are signed by its key. Use the telephone."
        )
        return verdict
    shared = set.intersection(*({c.size for c, _ in state.verified()} for state in states))
    if shared:
        verdict.proved.append(f"they saw the same log at {len(shared)} sizes, up to {max(shared)} entries")
    else:
        verdict.open.append("that they saw the same log: no size was seen by all of them")
    return verdict


def _describe(state: LogState) -> str:
    found = state.verified()
    return f"{state.witness}: {len(found)} checkpoints, all signed by the log, up to {found[-1][0].size if found else 0} entries"


def _check_entries(client: httpx.Client, size: int, root: bytes) -> str:
    edge = RightEdge()
    while edge.size < size:
        number = edge.size // TILE_WIDTH
        width = measure_tile(size, 0, number)
        entries = read_bundle(_fetch(client, f"/log/{write_tile_path('entries', number, width)}"))
        if len(entries) != width:
            raise MalformedMessage("a bundle is not whole", field="log.tiles")
        edge = edge.append(hash_leaf(entry) for entry in entries).after
    if edge.root() != root:
        raise MalformedMessage("the entries do not make the signed root", field="log.tiles")
    return f"all {size} entries make the signed root"


def _check_tiles(client: httpx.Client, size: int, root: bytes) -> str:
    tiles = {}
    for level, number in list_tiles(size, tuple(range(0, size, TILE_WIDTH))):
        width = measure_tile(size, level, number)
        tiles[level, number] = _fetch(client, f"/log/{write_tile_path(level, number, width)}")
    tree = TileTree(size, tiles)
    if tree.root() != root:
        raise MalformedMessage("the tiles do not make the signed root", field="log.tiles")
    for (level, number), hashes in tiles.items():
        for offset in range(0, len(hashes), HASH_BYTES) if level else ():
            index = number * TILE_WIDTH + offset // HASH_BYTES
            below = RightEdge().append(
                tiles[level - 1, index][at : at + HASH_BYTES] for at in range(0, TILE_WIDTH * HASH_BYTES, HASH_BYTES)
            )
            if below.after.root() != hashes[offset : offset + HASH_BYTES]:
                raise MalformedMessage("a tile is not the one below it", field="log.tiles")
    return f"{len(tiles)} tiles make the signed root"


def _fetch(client: httpx.Client, path: str) -> bytes:
    response = client.get(path)
    if response.status_code != httpx.codes.OK:
        raise DependencyUnavailable("the hub does not serve a part of its log", field="url")
    return response.content
