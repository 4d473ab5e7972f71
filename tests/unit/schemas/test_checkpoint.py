import pytest

from schemas.checkpoint import (
    MAX_PROOF_BYTES,
    Checkpoint,
    NoteVerifier,
    read_proof,
    sign_checkpoint,
    verify_checkpoint,
    verify_proof,
    write_proof,
    write_verifier,
)
from schemas.errors import MalformedMessage, SignatureInvalid, TooLarge
from schemas.keys import KeyUse, generate_ed25519_jwk, public_part
from schemas.merkle import RightEdge, hash_leaf

ORIGIN = "safelane.test/log"
LOG = generate_ed25519_jwk(KeyUse.LOG)
VERIFIER = NoteVerifier.from_text(write_verifier(ORIGIN, public_part(LOG)))
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)))

# An example of the signed-note form as Go's package golang.org/x/mod/sumdb/note publishes it, with its verifier key.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_a_note_of_the_go_implementation_verifies_by_our_key_reader() -> None:
    verifier = NoteVerifier.from_text(GO_VKEY)
    assert verifier.name == "PeterNeumann"
    import base64

    text, line = GO_NOTE.split("\n\n")
    raw = base64.b64decode(line.split(" ")[2])
    assert raw[:4] == verifier.key_id
    verifier.public_key.verify(raw[4:], (text + "\n").encode())


def test_a_checkpoint_is_three_lines_and_a_signature() -> None:
    note = sign_checkpoint(CHECKPOINT, LOG)
    lines = note.split("\n")
    assert lines[:2] == [ORIGIN, "7"]
    assert lines[3] == ""
    assert lines[4].startswith(f"— {ORIGIN} ")
    assert verify_checkpoint(note, VERIFIER) == CHECKPOINT


def test_extension_lines_are_signed_and_passed_over() -> None:
    note = sign_checkpoint(CHECKPOINT, LOG)
    with pytest.raises(SignatureInvalid):
        verify_checkpoint(note.replace("\n\n", "\nextension\n\n", 1), VERIFIER)


@pytest.mark.parametrize(
    ("old", "new"),
    [("\n7\n", "\n8\n"), (ORIGIN + "\n7", "elsewhere.test/log\n7"), ("AAECAw", "AAECBA"), (f"— {ORIGIN}", "— else")],
)
def test_an_altered_checkpoint_does_not_verify(old: str, new: str) -> None:
    note = sign_checkpoint(CHECKPOINT, LOG)
    assert old in note
    with pytest.raises(SignatureInvalid):
        verify_checkpoint(note.replace(old, new, 1), VERIFIER)


@pytest.mark.parametrize(
    "note",
    ["", "x", "\n\n", f"{ORIGIN}\n7\nAA==\n\n— {ORIGIN} AAAA\n", f"{ORIGIN}\n07\n{'A' * 43}=\n\n— {ORIGIN} AAAA\n", f"{ORIGIN}\n7\n{'A' * 43}=\n\n- {ORIGIN} AAAA\n", f"{ORIGIN}\n7\n{'A' * 43}=\n\n— {ORIGIN} !!\n"],
)  # fmt: skip
def test_what_is_no_checkpoint_is_malformed(note: str) -> None:
    with pytest.raises(MalformedMessage):
        verify_checkpoint(note, VERIFIER)


def test_another_key_under_the_logs_name_does_not_verify() -> None:
    forged = sign_checkpoint(CHECKPOINT, generate_ed25519_jwk(KeyUse.LOG))
    with pytest.raises(SignatureInvalid):
        verify_checkpoint(forged, VERIFIER)
    both = sign_checkpoint(CHECKPOINT, LOG) + forged.rpartition("\n\n")[2]
    assert verify_checkpoint(both, VERIFIER) == CHECKPOINT


def test_a_proof_is_self_contained() -> None:
    entries = [bytes([number]) for number in range(7)]
    appended = RightEdge().append(hash_leaf(entry) for entry in entries)
    note = sign_checkpoint(Checkpoint(ORIGIN, 7, appended.after.root()), LOG)
    text = write_proof(4, appended.prove_inclusion(4), note)
    assert text.startswith("c2sp.org/tlog-proof@v1\nindex 4\n")
    proof = read_proof(text)
    assert verify_proof(proof, entries[4], VERIFIER) == Checkpoint(ORIGIN, 7, appended.after.root())
    assert verify_proof(proof, entries[3], VERIFIER) is None
    with_extra = text.replace("\nindex", "\nextra QUJD\nindex", 1)
    assert read_proof(with_extra) == proof
    single = RightEdge().append([hash_leaf(b"only")])
    alone = write_proof(0, [], sign_checkpoint(Checkpoint(ORIGIN, 1, single.after.root()), LOG))
    assert verify_proof(read_proof(alone), b"only", VERIFIER) is not None


@pytest.mark.parametrize(
    "text",
    ["", "c2sp.org/tlog-proof@v1\n", "c2sp.org/tlog-proof@v2\nindex 0\n\nx", "c2sp.org/tlog-proof@v1\nindex -1\n\nx", "c2sp.org/tlog-proof@v1\nindex 0\nAA==\n\nx", "c2sp.org/tlog-proof@v1\nindex 0\n" + f"{'A' * 43}=\n" * 65 + "\nx"],
)  # fmt: skip
def test_what_is_no_proof_is_malformed(text: str) -> None:
    with pytest.raises(MalformedMessage):
        read_proof(text)


def test_a_huge_proof_is_not_read() -> None:
    with pytest.raises(TooLarge):
        read_proof("x" * (MAX_PROOF_BYTES + 1))


def test_verifier_keys_are_checked() -> None:
    good = write_verifier(ORIGIN, public_part(LOG))
    name, key_id, key = good.split("+", 2)
    for text in ("", good[:-4], f"{name}+00000000+{key}", f"other+{key_id}+{key}", f"{name}+{key_id}+BA{key[2:]}"):
        with pytest.raises(MalformedMessage):
            NoteVerifier.from_text(text)
    for name in ("with space", "with+plus", ""):
        with pytest.raises(MalformedMessage):
            write_verifier(name, public_part(LOG))
    with pytest.raises(MalformedMessage):
        write_verifier(ORIGIN, public_part(generate_ed25519_jwk(KeyUse.API)))
