"""Epochs of the hub's log: after a loss the authority names a new key and origin, and what the new epoch begins with (DESIGN, The message log).

The tree goes on: an epoch's first entries are those that were kept of the epoch before, at their old positions, and the first new one is the
``epoch`` event. It commits to the kept head and to the highest head that witnesses had. What lies between was lost; senders send it again.
"""

from collections.abc import Sequence

from schemas.canonical import canonical_bytes, decode_base64url, encode_base64url, parse_object
from schemas.checkpoint import Checkpoint, NoteVerifier, read_checkpoint, verify_checkpoint
from schemas.directory import EarlierEpoch, HubKeys
from schemas.errors import IntegrityBroken, MalformedMessage, Rejected, SignatureInvalid
from schemas.log_state import LogState, find_fork
from schemas.merkle import EMPTY_ROOT

EPOCH_EVENT = "epoch"
_MAX_EVENT_BYTES = 4096


class ProofLost(Rejected):
    """A proof under a head of an earlier epoch that was lost: what it proved is sent again by whoever sent it."""

    code = "proof-lost"
    public_message = "The part of the hub's log that this proves was lost. It comes again by itself."


def find_verifier(hub: HubKeys, note: str) -> NoteVerifier:
    """Return the verifier key for a note: this epoch's, or for a head that was kept of an earlier epoch, that one's.

    Raises:
        ProofLost: it is a head of an earlier epoch beyond what was kept; its signature was not looked at.
        MalformedMessage: it is not a checkpoint.
    """
    claimed = read_checkpoint(note)
    for earlier in hub.earlier:
        if claimed.origin == earlier.log_origin:
            if claimed.size > measure_kept(hub, earlier.epoch):
                raise ProofLost(field="proof")
            return NoteVerifier.from_text(earlier.log_verifier)
    return NoteVerifier.from_text(hub.log_verifier)


def find_epoch(hub: HubKeys, origin: str) -> int:
    """Return the epoch with this origin line; the present one where none has it."""
    return next((earlier.epoch for earlier in hub.earlier if earlier.log_origin == origin), hub.epoch)


def measure_kept(hub: HubKeys, epoch: int) -> int:
    """Return how many entries are still there of the log as it was in an earlier epoch: each loss since may have cut it shorter."""
    return min((e.kept_size for e in hub.earlier if e.epoch >= epoch), default=0)


def begin_epoch(
    hub: HubKeys, kept_note: str | None, states: Sequence[LogState], *, log_origin: str, log_verifier: str
) -> HubKeys:
    """Return the hub's keys in a new epoch, after ``kept_note`` was all that is left of the log and witnesses had seen ``states``.

    Raises:
        SignatureInvalid: the kept head or a witness's is not signed by the log's present key.
        IntegrityBroken: witnesses saw two logs, or another head of the kept size: this is no loss but a fork.
        MalformedMessage: no witness gave a head, the hub kept more than any witness saw, or the key or origin is the old one.
    """
    if NoteVerifier.from_text(log_verifier).name != log_origin:
        raise MalformedMessage("is the key of another origin", field="log_verifier")
    if log_verifier == hub.log_verifier or log_origin in {hub.log_origin, *(e.log_origin for e in hub.earlier)}:
        raise MalformedMessage("a new epoch needs a key and an origin of its own", field="log_origin")
    present = NoteVerifier.from_text(hub.log_verifier)
    kept = verify_checkpoint(kept_note, present) if kept_note else Checkpoint(hub.log_origin, 0, EMPTY_ROOT)
    fork = find_fork(states)
    if fork is not None:
        raise IntegrityBroken(f"witnesses saw two logs of {fork.size} entries", field="witness")
    heads = [head for state in states for head in _read_heads(state, present)]
    if not heads:
        raise MalformedMessage("at least one witness must give a head of this log", field="witness")
    if any(checkpoint.size == kept.size and checkpoint.root != kept.root for checkpoint, _ in heads):
        raise IntegrityBroken("what was kept is not what witnesses saw", field="kept")
    highest, note = max(heads, key=lambda head: head[0].size)
    if highest.size < kept.size:
        raise MalformedMessage("the hub kept more than these witnesses saw: give newer states", field="witness")
    ended = EarlierEpoch(
        epoch=hub.epoch,
        log_origin=hub.log_origin,
        log_verifier=hub.log_verifier,
        kept_size=kept.size,
        kept_root=encode_base64url(kept.root),
    )
    return hub.model_copy(
        update={
            "epoch": hub.epoch + 1,
            "log_origin": log_origin,
            "log_verifier": log_verifier,
            "starting_checkpoint": note,
            "earlier": (*hub.earlier, ended),
        }
    )


def _read_heads(state: LogState, log: NoteVerifier) -> list[tuple[Checkpoint, str]]:
    if NoteVerifier.from_text(state.verifier) != log:
        raise SignatureInvalid(field="witness")
    return state.verified()


def kept_checkpoint(earlier: EarlierEpoch) -> Checkpoint:
    """Return the head that was kept of an epoch."""
    return Checkpoint(earlier.log_origin, earlier.kept_size, decode_base64url(earlier.kept_root, field="kept_root"))


def list_kept_checkpoints(hub: HubKeys) -> list[Checkpoint]:
    """Return the heads that the authority signed as kept of earlier epochs, but for those that a later loss cut off."""
    return [
        kept_checkpoint(earlier) for earlier in hub.earlier if 0 < earlier.kept_size == measure_kept(hub, earlier.epoch)
    ]


def list_epoch_members(hub: HubKeys) -> dict[str, str | int]:
    """Return what the first event of the epoch says, but for its instant.

    Raises:
        MalformedMessage: the directory names no earlier epoch.
    """
    if not hub.earlier:
        raise MalformedMessage("names no earlier epoch", field="hub.earlier")
    kept, witnessed = hub.earlier[-1], read_checkpoint(hub.starting_checkpoint)
    return {
        "epoch": hub.epoch,
        "log_origin": hub.log_origin,
        "kept_size": kept.kept_size,
        "kept_root": kept.kept_root,
        "witnessed_size": witnessed.size,
        "witnessed_root": encode_base64url(witnessed.root),
    }


def is_epoch_entry(entry: bytes, hub: HubKeys) -> bool:
    """Tell whether an entry is the first of the directory's epoch: a clear event that says exactly what the authority signed."""
    try:
        said = parse_object(entry, max_bytes=_MAX_EVENT_BYTES, field="entry")
    except MalformedMessage:
        return False
    expected = {**list_epoch_members(hub), "event": EPOCH_EVENT, "version": said.get("version"), "at": said.get("at")}
    return entry == canonical_bytes(expected)
