"""Changes of an evidence pack by chance: what ``safelane verify`` must not take for the pack that was made."""

import json
import random
from collections.abc import Mapping, Sequence

from cryptography import x509

from deploy.evidence.checking import PackChecker
from deploy.evidence.pack import Files, seal_pack
from schemas.keys import VerifyingKeys

_NOT_EVIDENCE = ("README.txt", "summary.pdf", "timestamp.json")
"""Covered by the pack's manifest alone, which a forger can write anew: what is written from the rest for people, and the parts of a timestamp's
response that its authority does not sign (``test_timestamps`` changes the others)."""


def change_pack(files: Files, chance: random.Random) -> tuple[str, Files]:
    """Change one byte, one end or one place of a pack; half of the time the forger writes the pack's manifest anew."""
    anew = chance.random() < 0.5
    name = chance.choice([n for n in sorted(files) if n != "pack.json" and not (anew and n in _NOT_EVIDENCE)])
    data, way = files[name], chance.choice(("byte", "byte", "byte", "cut", "gone", "swapped"))
    others = [n for n in sorted(files) if n != name and "/" in n and n.partition("/")[0] == name.partition("/")[0]]
    at = chance.randrange(len(data))
    flipped = data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
    changed = {
        "byte": {**files, name: flipped},
        "cut": {**files, name: data[:at]},
        "gone": {n: d for n, d in files.items() if n != name},
        "swapped": {**files, name: files[chance.choice(others)] if others else data[::-1]},
    }[way]
    return f"{way} {name} at {at}, its manifest {'anew' if anew else 'kept'}", reseal(changed) if anew else changed


def reseal(files: Mapping[str, bytes]) -> Files:
    """Write a manifest that fits the changed files, as a forger would."""
    facts = {k: v for k, v in json.loads(files["pack.json"]).items() if k not in {"files", "format"}}
    return seal_pack({name: data for name, data in files.items() if name != "pack.json"}, **facts)


def try_packs(
    files: Files, authority: Sequence[VerifyingKeys], roots: Sequence[x509.Certificate], trials: int, seed: int
) -> list[str]:
    """Change a pack so often, each time anew, and return what ``verify`` took for the pack that was made."""

    def verify(pack: Files) -> tuple[int, list[str]]:
        verdict = PackChecker(pack, authority, roots).check()
        return verdict.exit_code, verdict.proved

    honest, escaped = verify(files), []
    assert honest[0] == 0, honest
    for trial in range(trials):
        what, changed = change_pack(files, random.Random(f"{seed}/{trial}"))  # noqa: S311 (chance that can be repeated)
        if verify(changed) == honest:
            escaped.append(f"seed {seed}, trial {trial}: {what}")
    return escaped
