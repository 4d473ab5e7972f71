"""Mapping: how a record system's own format becomes a referral. The structure of each format is data (YAML), the rules of FORMATS are code."""

from adapters.mapping.engine import MappingContext, RecordOutcome, read_records
from adapters.mapping.heading import draft_header
from adapters.mapping.loading import default_mappings, load_mapping, recognise_mapping
from adapters.mapping.model import Mapping

__all__ = [
    "Mapping",
    "MappingContext",
    "RecordOutcome",
    "default_mappings",
    "draft_header",
    "load_mapping",
    "read_records",
    "recognise_mapping",
]
