"""A folder of samples: the partnership it belongs to, and its documents with the instants at which they arrive (FORMATS 2.1).

The timetable is the ``files`` list of the folder's ``expected.yaml``; expected results are read by the check alone. A folder without one is sent in the
order of names, on the real clock.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from deploy.local.generated_samples import LONG_NARRATIVE, make_long_narrative
from schemas.errors import ConfigInvalid
from schemas.plain_yaml import read_yaml

PARTNERSHIP_FILE = "partnership.yaml"
EXPECTED_FILE = "expected.yaml"
BUNDLED = Path(__file__).parent / "samples"
DOCUMENT_SUFFIXES = frozenset({".json", ".xml", ".csv"})
MEDIA_TYPES = {".json": "application/json", ".xml": "application/xml", ".csv": "text/csv"}


@dataclass(frozen=True, slots=True)
class SampleDocument:
    """One document: path relative to the folder, and the business instant of its arrival (none: now)."""

    name: str
    path: Path
    received_at: datetime | None

    @property
    def media_type(self) -> str:
        """The Content-Type under which a record system would send it."""
        return MEDIA_TYPES.get(self.path.suffix.lower(), "application/octet-stream")

    def read_bytes(self) -> bytes:
        """Return the document; the one that is too large to carry is made."""
        if self.name == LONG_NARRATIVE and not self.path.exists():
            return make_long_narrative(self.path.parents[1])
        return self.path.read_bytes()


@dataclass(frozen=True, slots=True)
class SampleSet:
    """The folder, its documents in the order of arrival, and its expected results if it has them."""

    folder: Path
    documents: tuple[SampleDocument, ...]
    bad_documents: tuple[SampleDocument, ...]
    has_expected: bool

    @property
    def partnership_file(self) -> Path:
        """The directory's source for these samples."""
        return self.folder / PARTNERSHIP_FILE

    def read_expected(self) -> dict[str, Any]:
        """Return the expected results, for the check.

        Raises:
            ConfigInvalid: the folder has none.
        """
        return _read_yaml(self.folder / EXPECTED_FILE)


def read_sample_set(folder: Path) -> SampleSet:
    """Read the layout of a sample folder.

    Raises:
        ConfigInvalid: the folder has no partnership file or no document, or lists a document that is not there.
    """
    if not (folder / PARTNERSHIP_FILE).is_file():
        raise ConfigInvalid(f"the sample folder needs a {PARTNERSHIP_FILE}", field="samples")
    has_expected = (folder / EXPECTED_FILE).is_file()
    expected = _read_yaml(folder / EXPECTED_FILE) if has_expected else {}
    good = [_make_document(folder, entry) for entry in expected.get("files", ())] or _list_documents(folder)
    bad = [_make_document(folder, entry) for entry in _distinct_files(expected.get("bad", ()))]
    if not good:
        raise ConfigInvalid("the sample folder holds no document", field="samples")
    good.sort(key=lambda document: (document.received_at is not None, document.received_at or 0, document.name))
    return SampleSet(folder, tuple(good), tuple(bad), has_expected)


def _make_document(folder: Path, entry: dict[str, Any]) -> SampleDocument:
    path = folder / str(entry["file"])
    if not path.is_file() and entry["file"] != LONG_NARRATIVE:
        raise ConfigInvalid(f"a listed document is missing: {entry['file']}", field="samples")
    return SampleDocument(str(entry["file"]), path, _read_instant(entry.get("received_at")))


def _list_documents(folder: Path) -> list[SampleDocument]:
    paths = sorted(p for p in folder.glob("*/*") if p.suffix.lower() in DOCUMENT_SUFFIXES and p.parent.name != "bad")
    return [SampleDocument(str(path.relative_to(folder)), path, None) for path in paths]


def _distinct_files(entries: Any) -> list[dict[str, Any]]:
    return list({str(entry["file"]): dict(entry) for entry in entries}.values())


def _read_instant(value: Any) -> datetime | None:
    return None if value is None else datetime.fromisoformat(str(value))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise ConfigInvalid(f"cannot be read: {path.name}", field="samples") from None
    if not isinstance(content, dict):
        raise ConfigInvalid(f"must be a mapping: {path.name}", field="samples")
    return content
