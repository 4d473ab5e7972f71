"""Search for plain content where none may be: databases, queues, logs, files (promise 1 of the design).

A needle is a piece of text from a referral. It is looked for as it is, and as it would look after the encodings that a program might apply:
JSON escapes, base64 (in its three alignments, both alphabets), hexadecimal and UTF-16. One pass over the bytes finds all of them.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ahocorasick_rs import BytesAhoCorasick

from schemas.errors import ConfigInvalid

MIN_NEEDLE_BYTES = 6
"""Shorter needles turn up by chance in ciphertext: 6 bytes over 100 MB do so about once in three million searches."""
CHUNK_BYTES = 8 * 1024 * 1024
QUANTUM = 4
"""Characters of base64 that stand for three bytes (RFC 4648 section 4)."""
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]*")


@dataclass(frozen=True, slots=True)
class Leak:
    """Where a needle was found: its number in the list (never its text), the place, the offset in bytes and the encoding."""

    needle: int
    place: str
    offset: int
    encoding: str


@dataclass(slots=True)
class SearchReport:
    """How much was searched and what was found."""

    bytes_searched: int = 0
    places: int = 0
    leaks: list[Leak] = field(default_factory=list)

    def add(self, other: "SearchReport") -> None:
        """Count another search into this one."""
        self.bytes_searched += other.bytes_searched
        self.places += other.places
        self.leaks += other.leaks


def encode_variants(text: str) -> dict[str, bytes]:
    """Return the byte forms of ``text`` by the name of their encoding."""
    plain = text.encode()
    forms = {
        "utf-8": plain,
        "utf-16-le": text.encode("utf-16-le"),
        "utf-16-be": text.encode("utf-16-be"),
        "json": json.dumps(text)[1:-1].encode(),
        "hex": plain.hex().encode(),
        "hex-upper": plain.hex().upper().encode(),
    }
    for shift in range(3):
        # The characters that depend on the unknown neighbours are cut off: one quantum in front, and the unfinished one behind.
        encoded = base64.b64encode(b"\0" * shift + plain)
        core = encoded[4 if shift else 0 : (len(plain) + shift) // 3 * 4]
        forms[f"base64+{shift}"] = core
        forms[f"base64url+{shift}"] = core.translate(bytes.maketrans(b"+/", b"-_"))
    return {name: form for name, form in forms.items() if len(form) >= MIN_NEEDLE_BYTES}


class LeakSearch:
    """One compiled search for many needles.

    Raises:
        ConfigInvalid: there is no needle of useful length, so that finding nothing would prove nothing.
    """

    def __init__(self, needles: Iterable[str]) -> None:
        """Compile the search; needles shorter than :data:`MIN_NEEDLE_BYTES` are left out."""
        self.needles = [needle for needle in dict.fromkeys(needles) if len(needle.encode()) >= MIN_NEEDLE_BYTES]
        if not self.needles:
            raise ConfigInvalid("nothing to search for: every needle is too short")
        forms: dict[bytes, tuple[int, str]] = {}
        for number, needle in enumerate(self.needles):
            for encoding, form in encode_variants(needle).items():
                forms.setdefault(form, (number, encoding))
        self._labels = list(forms.values())
        self._longest = max(len(form) for form in forms)
        self._machine = BytesAhoCorasick(list(forms))

    def search_bytes(self, data: bytes, place: str) -> SearchReport:
        """Search one piece of data that is in memory."""
        return self._search_chunks([data], place)

    def search_file(self, path: Path) -> SearchReport:
        """Search a file of any size, in chunks that overlap by the longest form."""
        return self._search_chunks(_read_chunks(path), path.name)

    def search_tree(self, root: Path) -> SearchReport:
        """Search every regular file under ``root``; a file that vanishes meanwhile is passed over (servers rotate theirs)."""
        report = SearchReport()
        for path in sorted(root.rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            try:
                report.add(self.search_file(path))
            except FileNotFoundError:
                continue
        return report

    def _search_chunks(self, chunks: Iterable[bytes], place: str) -> SearchReport:
        report = SearchReport(places=1)
        tail = b""
        seen: set[tuple[int, int]] = set()  # the windows overlap: a match in the overlap is met twice
        for chunk in chunks:
            window = tail + chunk
            base = report.bytes_searched - len(tail)
            for index, start, end in self._machine.find_matches_as_indexes(window, overlapping=True):
                needle, encoding = self._labels[index]
                found = (needle, base + start)
                if found not in seen and self._is_whole(needle, encoding, window, start, end):
                    seen.add(found)
                    report.leaks.append(Leak(needle, place, base + start, encoding))
            report.bytes_searched += len(chunk)
            tail = window[-(self._longest + 2 * QUANTUM) :]
        return report

    def _is_whole(self, needle: int, encoding: str, window: bytes, start: int, end: int) -> bool:
        """Return whether the whole needle is there: in base64 only its middle was looked for, so the quanta around it are decoded too."""
        if not encoding.startswith("base64"):
            return True
        text = self.needles[needle].encode()
        return text in _decode_around(window, start, end)


def _decode_around(window: bytes, start: int, end: int) -> bytes:
    """Decode base64 of either alphabet from one quantum before ``start`` to one after ``end`` (padded or not)."""
    before = window[max(0, start - QUANTUM) : start]
    before = before if len(before) == QUANTUM and _BASE64.fullmatch(before) else b""
    after = _BASE64.match(window, end, end + QUANTUM)
    text = before + window[start:end] + (after.group() if after else b"")
    text = text.translate(bytes.maketrans(b"-_", b"+/"))
    text = text[: len(text) // QUANTUM * QUANTUM] if len(text) % QUANTUM == 1 else text
    return base64.b64decode(text + b"=" * (-len(text) % QUANTUM))


def _read_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
