"""The samples that the repository carries, the directory they belong to, and how they are read in a test."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from adapters.mapping import MappingContext, RecordOutcome, default_mappings, read_records, recognise_mapping
from deploy.authority.partnership import load_partnership
from schemas.directory import Directory
from schemas.plain_yaml import read_yaml

SAMPLES = Path(__file__).parents[2] / "deploy" / "local" / "samples"


@lru_cache(maxsize=1)
def load_sample_directory() -> Directory:
    """Return the partnership of the samples as an unsigned directory."""
    return make_directory(SAMPLES / "partnership.yaml")


def make_directory(file: Path) -> Directory:
    """Return a partnership file as an unsigned directory."""
    parts = load_partnership(file)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Directory(
        version=1,
        issued_at=now,
        expires_at=now + timedelta(days=900),
        partnership=parts.partnership,
        agencies=parts.agencies,
        calendars=parts.calendars,
        bank_holidays=parts.bank_holidays,
        local_policy=parts.local_policy,
        agreements=parts.agreements,
    )


@lru_cache(maxsize=1)
def load_expected() -> dict[str, Any]:
    """Return the expected results: for tests alone."""
    data: dict[str, Any] = read_yaml((SAMPLES / "expected.yaml").read_text(encoding="utf-8"))
    return data


def parse_instant(text: str) -> datetime:
    """Return an instant of the expected results."""
    return datetime.fromisoformat(text)


def map_document(
    name: str, data: bytes, received_at: datetime, directory: Directory | None = None, sender: str | None = None
) -> list[RecordOutcome]:
    """Recognise and map a document as a gateway does."""
    context = MappingContext(directory or load_sample_directory(), sender, received_at)
    return read_records(data, recognise_mapping(name, data, default_mappings()), context)
