"""Epochs: what officers may open, which heads of an earlier epoch still count, and what the first entry must say."""

import pytest

from schemas.canonical import canonical_bytes
from schemas.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint, write_verifier
from schemas.directory import HubKeys
from schemas.errors import IntegrityBroken, MalformedMessage, SignatureInvalid
from schemas.keys import Jwk, KeyUse, generate_ed25519_jwk, public_part
from schemas.log_epochs import ProofLost, begin_epoch, find_verifier, is_epoch_entry, list_epoch_members, measure_kept
from schemas.log_state import LogState
from schemas.merkle import compute_root, hash_leaf

ORIGIN, NEXT, THIRD = "log.example.org/test", "log.example.org/test/2", "log.example.org/test/3"
JWKS: dict[str, Jwk] = {origin: generate_ed25519_jwk(KeyUse.LOG) for origin in (ORIGIN, NEXT, THIRD)}
HUB = HubKeys(log_origin=ORIGIN, log_verifier=write_verifier(ORIGIN, public_part(JWKS[ORIGIN])))


def vkey(origin: str) -> str:
    return write_verifier(origin, public_part(JWKS[origin]))


def head(size: int, origin: str = ORIGIN, story: str = "one") -> str:
    root = compute_root(hash_leaf(f"{story} {number}".encode()) for number in range(size))
    return sign_checkpoint(Checkpoint(origin, size, root), JWKS[origin])


def state(*sizes: int, witness: str = "csc.marchshire", story: str = "one") -> LogState:
    return LogState(witness, HUB.log_verifier, tuple(head(size, story=story) for size in sizes))


def begin(kept: str | None, *states: LogState) -> HubKeys:
    return begin_epoch(HUB, kept, states, log_origin=NEXT, log_verifier=vkey(NEXT))


def test_an_epoch_begins_with_what_was_kept_and_names_the_highest_head_that_any_witness_saw() -> None:
    hub = begin(head(5), state(3, 5, 9), state(5, 12, witness="health.marchshire-ft"))
    assert (hub.epoch, hub.log_origin, hub.log_verifier) == (2, NEXT, vkey(NEXT))
    assert hub.starting_checkpoint == head(12)
    assert [(earlier.epoch, earlier.log_origin, earlier.kept_size) for earlier in hub.earlier] == [(1, ORIGIN, 5)]
    nothing_left = begin(None, state(9))
    assert (nothing_left.earlier[0].kept_size, nothing_left.starting_checkpoint) == (0, head(9))


def test_what_is_no_loss_but_a_fork_opens_nothing() -> None:
    with pytest.raises(IntegrityBroken, match="two logs"):
        begin(head(5), state(9), state(9, story="another", witness="health.marchshire-ft"))
    with pytest.raises(IntegrityBroken, match="not what witnesses saw"):
        begin(head(5, story="another"), state(5, 9))


def test_officers_need_heads_of_witnesses_and_a_key_of_its_own() -> None:
    with pytest.raises(MalformedMessage, match="at least one witness"):
        begin(head(5))
    with pytest.raises(MalformedMessage, match="newer states"):
        begin(head(9), state(5))
    with pytest.raises(MalformedMessage, match="of its own"):
        begin_epoch(HUB, head(5), [state(9)], log_origin=ORIGIN, log_verifier=HUB.log_verifier)
    with pytest.raises(MalformedMessage, match="another origin"):
        begin_epoch(HUB, head(5), [state(9)], log_origin=THIRD, log_verifier=vkey(NEXT))
    with pytest.raises(SignatureInvalid):
        begin(head(5, NEXT), state(9))
    with pytest.raises(SignatureInvalid):
        begin(head(5), LogState("csc.marchshire", vkey(NEXT), (head(9, NEXT),)))


def test_heads_of_an_earlier_epoch_count_as_far_as_they_were_kept() -> None:
    hub = begin(head(5), state(9))
    for note in (head(5), head(3), head(7, NEXT)):
        assert verify_checkpoint(note, find_verifier(hub, note)).origin in {ORIGIN, NEXT}
    with pytest.raises(ProofLost):
        find_verifier(hub, head(6))
    seen = LogState("csc.marchshire", vkey(NEXT), (head(8, NEXT),))
    again = begin_epoch(hub, head(4, NEXT), [seen], log_origin=THIRD, log_verifier=vkey(THIRD))
    assert [measure_kept(again, epoch) for epoch in (1, 2)] == [4, 4], "a second loss cut the first epoch shorter too"
    with pytest.raises(ProofLost):
        find_verifier(again, head(5))


def test_the_first_entry_says_exactly_what_the_authority_signed() -> None:
    hub = begin(head(5), state(9))
    members = {**list_epoch_members(hub), "event": "epoch", "version": 1, "at": "2026-11-26T10:00:00+00:00"}
    assert is_epoch_entry(canonical_bytes(members), hub)
    for name in list_epoch_members(hub):
        changed = members | {name: 4 if isinstance(members[name], int) else "x"}
        assert not is_epoch_entry(canonical_bytes(changed), hub), name
    assert not is_epoch_entry(canonical_bytes(members | {"more": 1}), hub)
    assert not is_epoch_entry(b"not JSON", hub)
