"""What a record is and where it comes from: references, kind, sender, area and times (FORMATS CH-4, CH-5, CH-25)."""

from dataclasses import dataclass
from datetime import datetime

from adapters.mapping.addressing import find_by_identifier, find_by_role
from adapters.mapping.values import RecordContext, meets, name_found, name_missing, read_field, read_text, read_yes
from schemas.codes import Kind
from schemas.directory import Agency
from schemas.errors import Rejected
from schemas.identifiers import parse_identifier
from schemas.local_time import latest_acceptable

_FUNCTIONS = {"new": None, "correction": Kind.CORRECTION, "update": Kind.UPDATE}


@dataclass(frozen=True, slots=True)
class Origin:
    """The record's own account of itself. ``incident_at`` is when it happened, or was reported where that is not said."""

    native_ref: str
    kind: str
    original_kind: str | None
    relates_to: str | None
    missing_event: str | None
    occurrence_ref: str | None
    reported_at: datetime | None
    incident_at: datetime | None
    danger: bool

    @property
    def decision_kind(self) -> str:
        """The kind whose rules apply."""
        return self.original_kind or self.kind


def read_origin(context: RecordContext) -> Origin:
    """Return what the record is.

    Raises:
        Rejected: a category that the mapping does not know, or a correction or update of nothing.
    """
    spec, node = context.mapping.record, context.node
    native_ref = read_text(node, spec.native_ref)
    if native_ref is None:
        raise Rejected("it must be there", field=name_missing(node, spec.native_ref))
    category = _read_kind(context)
    function = _FUNCTIONS[read_text(node, spec.function) or "new"]
    relates_to = read_text(node, spec.relates_to)
    if function is not None and relates_to is None:
        raise Rejected("say which message this corrects or adds to", field=name_missing(node, spec.relates_to))
    reported_at = context.read_moment(node, spec.reported)
    return Origin(
        native_ref=native_ref,
        kind=function or category,
        original_kind=category if function is not None else None,
        relates_to=relates_to if function is not None else None,
        missing_event=read_text(node, spec.missing_event),
        occurrence_ref=read_text(node, spec.occurrence_ref),
        reported_at=reported_at,
        incident_at=context.read_moment(node, spec.occurred) or reported_at,
        danger=bool(read_yes(node, spec.danger)),
    )


def check_times(context: RecordContext, origin: Origin) -> None:
    """Check that the incident does not lie after receipt.

    Raises:
        Rejected: it does; at the report's time, or at the incident's.
    """
    limit = latest_acceptable(context.received_at)
    spec = context.mapping.record
    for moment, field_spec in ((origin.reported_at, spec.reported), (origin.incident_at, spec.occurred)):
        if moment is not None and moment > limit:
            place = name_found(context.node, field_spec) or name_found(context.node, spec.reported)
            raise Rejected("it lies after receipt", field=place)


def find_sender(context: RecordContext) -> Agency:
    """Return the sending agency: the authenticated one, whose identifier the record must bear where it bears one.

    Raises:
        Rejected: the record names another agency, or no agency that the directory knows.
    """
    spec, directory = context.mapping.record, context.directory
    authenticated = directory.find_agency(context.sender) if context.sender is not None else None
    if context.sender is not None and authenticated is None:
        raise Rejected("the sender is not in the directory")
    for organisation in spec.sender:
        found = context.node.first(organisation.path)
        if found is None:
            continue
        value = parse_identifier(organisation.scheme, found.text(), field=found.path)
        if authenticated is not None:
            if authenticated.identifiers.get(organisation.scheme) != value:
                raise Rejected("the record is of another agency than the sender", field=found.path)
            return authenticated
        agency = find_by_identifier(directory, organisation.scheme, value, spec.sender_role or None)
        if agency is None:
            raise Rejected("the sender is not in the directory", field=found.path)
        return agency
    if authenticated is not None:
        return authenticated
    area = read_field(context.node, spec.area)
    agency = find_by_role(directory, spec.sender_role, area.text if area else None, elsewhere=True)
    if agency is None:
        field = name_missing(context.node, spec.sender[0].path) if spec.sender else None
        raise Rejected("the record does not say who sends it", field=field)
    return agency


def find_area(context: RecordContext, sender: Agency) -> str:
    """Return the GSS code of the authority that the record names, else of the sender's own area.

    Raises:
        Rejected: it is no GSS code.
    """
    found = context.read_identifier(context.node, context.mapping.record.area, "gss")
    return found.text if found is not None else sender.area


def _read_kind(context: RecordContext) -> str:
    spec, node = context.mapping.record, context.node
    for rule in spec.kind_rules:
        if meets(node, rule.when):
            return rule.kind
    kind = read_text(node, spec.category)
    if kind is None:
        raise Rejected("it must be there", field=name_missing(node, spec.category))
    return kind
