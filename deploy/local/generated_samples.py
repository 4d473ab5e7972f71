"""Samples that are too large to carry: made from a small one, byte for byte the same each time."""

import json
from pathlib import Path

LONG_NARRATIVE = "bad/ppn-narrative-5mb.json"
_SMALL = "bad/ppn-unknown-ethnicity.json"
_SENTENCE = "The same sentence is written again and again to make this account five megabytes long. "
_BYTES = 5 * 1024 * 1024


def make_long_narrative(samples: Path) -> bytes:
    """Return the document whose account is over the limit of a text: a small faultless one with a sentence repeated past 5 MiB.

    Args:
        samples: the folder of samples that holds the small document.
    """
    document = json.loads((samples / _SMALL).read_text(encoding="utf-8"))
    repeats = -(-_BYTES // len(_SENTENCE))
    document["msgHdr"]["msgRef"] = "MRC-PPN-2026-BAD0016"
    document["occ"]["occRef"] = "50260990016"
    document["occ"]["mo"] = _SENTENCE * repeats
    document["notif"]["voc"][0]["nomRef"] = "N99/900016"
    document["nominals"][0].update(nomRef="N99/900016", surn="Badsample-16", sde="W1", nhsNo="9990104123")
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode("utf-8")


def write_generated(samples: Path, target: Path) -> list[Path]:
    """Write every generated sample below ``target`` and return the files."""
    file = target / LONG_NARRATIVE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(make_long_narrative(samples))
    return [file]
