"""Splitting a document into its records, numbered from 1 in document order; what is wrong with one record waits until that one is opened."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adapters.mapping.limits import DOCUMENT
from adapters.mapping.model import Mapping, ReaderSpec
from adapters.mapping.nodes import Node, make_plain
from adapters.mapping.read_csv import check_header, parse_csv, read_row
from adapters.mapping.read_fhir import gather_bundle
from adapters.mapping.read_json import parse_json
from adapters.mapping.read_xml import LinkedExtract, parse_xml
from schemas.errors import Rejected


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record: ``open`` returns its root node (or raises Rejected); ``digest`` is the hexadecimal SHA-256 of what the system wrote."""

    open: Callable[[], Node]
    digest: str


def split_records(data: bytes, mapping: Mapping) -> list[RawRecord]:
    """Return the records of a document.

    Raises:
        Rejected: the document as a whole is faulty.
    """
    reader = mapping.reader
    if reader.format == "csv":
        return _split_csv(data, reader)
    if reader.format == "xml":
        return _split_xml(data, reader)
    document = parse_json(data)
    if not isinstance(document, dict):
        raise Rejected("an object is expected", field=DOCUMENT)
    digest = hashlib.sha256(data).hexdigest()
    if reader.format == "fhir":
        return [RawRecord(lambda: Node(gather_bundle(document)), digest)]
    return [RawRecord(lambda: Node(document), digest)]


def _split_csv(data: bytes, reader: ReaderSpec) -> list[RawRecord]:
    header, rows = parse_csv(data, reader.delimiter)
    check_header(header, reader.columns)
    return [
        RawRecord(_make_row_opener(header, row), _digest_json(dict(zip(header, row, strict=False)))) for row in rows
    ]


def _make_row_opener(header: list[str], row: list[str]) -> Callable[[], Node]:
    return lambda: Node(read_row(header, row))


def _split_xml(data: bytes, reader: ReaderSpec) -> list[RawRecord]:
    extract = LinkedExtract(
        parse_xml(data, reader.root), reader.record, reader.id_attribute, reader.link, reader.link_ends
    )
    wanted = [
        element
        for element in extract.records()
        if all(element.get(name) == value for name, value in reader.record_where.items())
    ]
    return [
        RawRecord(_make_event_opener(extract, element, reader.record), _digest_event(extract, element))
        for element in wanted
    ]


def _make_event_opener(extract: LinkedExtract, element: dict[str, Any], name: str) -> Callable[[], Node]:
    return lambda: Node(extract.gather(element), name)


def _digest_event(extract: LinkedExtract, element: dict[str, Any]) -> str:
    """Digest a record with all that is linked to it, so that a change of a linked person is a change of the record."""
    try:
        return _digest_json(make_plain(extract.gather(element)))
    except Rejected:
        return _digest_json(make_plain(element))


def _digest_json(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
