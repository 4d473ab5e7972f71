"""Loading mapping files, and recognising which of them a document belongs to."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import yaml
from pydantic import ValidationError

from adapters.mapping.limits import DOCUMENT, decode_document
from adapters.mapping.model import Mapping
from schemas.errors import ConfigInvalid, Rejected
from schemas.plain_yaml import read_yaml

_ADAPTERS = Path(__file__).parent.parent
_KINDS = ("police", "health", "education", "social_care")
_SUFFIXES = {"json": ".json", "fhir": ".json", "csv": ".csv", "xml": ".xml"}
_LEAST_SHARE = 0.5


@lru_cache(maxsize=1)
def default_mappings() -> tuple[Mapping, ...]:
    """Return the mappings that come with the product, from the folders of each agency kind.

    Raises:
        ConfigInvalid: a file is not of its form.
    """
    files = [file for kind in _KINDS for file in sorted((_ADAPTERS / kind).glob("*.yaml"))]
    return tuple(_read_mapping(file) for file in files)


def load_mapping(id_or_path: str | Path) -> Mapping:
    """Return a mapping by its id or from a file of the agency's own.

    Raises:
        ConfigInvalid: no such id or file, or the file is not of its form.
    """
    found = next((m for m in default_mappings() if m.id == str(id_or_path)), None)
    return found if found is not None else _read_mapping(Path(id_or_path))


def recognise_mapping(file_name: str, data: bytes, mappings: Sequence[Mapping]) -> Mapping:
    """Return the mapping to which a document belongs, judged by the marks that it holds, so that a broken document is known too.

    Args:
        file_name: breaks a tie by its ending; nothing is read from it besides.
        data: the document.
        mappings: those that the gateway accepts.

    Raises:
        Rejected: the document bears the marks of none of them; it says first if it is empty, too large or not UTF-8.
    """
    best: tuple[float, Mapping] | None = None
    for mapping in mappings:
        marks = mapping.recognise.marks
        share = sum(mark.encode() in data for mark in marks) / len(marks)
        share += 0.01 * file_name.lower().endswith(_SUFFIXES[mapping.reader.format])
        if share >= _LEAST_SHARE and (best is None or share > best[0]):
            best = (share, mapping)
    if best is None:
        decode_document(data, allow_mark=True)
        known = ", ".join(sorted(mapping.id for mapping in mappings))
        raise Rejected(
            f"no format that this gateway accepts: those are {known}; mapping= says which it is", field=DOCUMENT
        )
    return best[1]


def _read_mapping(file: Path) -> Mapping:
    try:
        return Mapping.model_validate(read_yaml(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise ConfigInvalid("the mapping file cannot be read", field=file.name) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigInvalid(f"{place}: {first['msg']}", field=file.name) from None
