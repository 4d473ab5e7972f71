"""Taking in what a record system hands over: recognise, read, store, and only then say yes.

Every channel (REST, folder) comes through here. The good records of a document are taken in although others are bad; a document of which nothing is
good is kept too, for its sender to correct, and sends nothing.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from adapters.gateway.outgoing.outbox_model import AcceptedDocument, NewDocument, NewReferral, RecordFault
from adapters.gateway.parts import AgencyParts
from adapters.mapping import Mapping, MappingContext, RecordOutcome, read_records, recognise_mapping
from schemas.errors import Rejected, SafelaneError, TooLarge

_log = structlog.get_logger(__name__)

WHOLE_DOCUMENT = "(document)"


@dataclass(frozen=True, slots=True)
class IncomingDocument:
    """A document as a channel received it. ``name`` is a file name or one made from the media type; ``mapping`` an id that the sender named."""

    body: bytes
    name: str
    channel: str
    mapping: str | None = None
    idempotency_key: str | None = None


class DocumentIntake:
    """The way in for one agency's documents. ``wake`` is called when there is something to send."""

    def __init__(self, parts: AgencyParts, mappings: Sequence[Mapping], wake: Callable[[], None]) -> None:
        self._parts = parts
        self._mappings = tuple(mappings)
        self._wake = wake

    @property
    def mapping_ids(self) -> list[str]:
        """The ids of the mappings that this agency's inputs may use."""
        return [mapping.id for mapping in self._mappings]

    def take(self, document: IncomingDocument) -> AcceptedDocument:
        """Read and durably store a document (synchronous, so that channels may call it in a thread); return what became of each record.

        Raises:
            DependencyUnavailable: there is no directory in force, or the store cannot be written: nothing was taken in.
            Conflict: the Idempotency-Key was used with another document.
        """
        parts = self._parts
        digest = hashlib.sha256(document.body).hexdigest()
        if document.idempotency_key is not None:
            before = parts.outbox.find_answer(document.idempotency_key, digest)
            if before is not None:
                return before
        received_at = parts.clock()
        mapping_id, referrals, faults = self._read(document)
        parts.observe("document_read")
        accepted = parts.outbox.accept(
            NewDocument(
                body=document.body,
                body_digest=digest,
                channel=document.channel,
                mapping=mapping_id,
                referrals=referrals,
                faults=faults,
                # A document of which nothing was good may be corrected and sent again under the same key.
                idempotency_key=document.idempotency_key if referrals else None,
            ),
            received_at=received_at,
            now=parts.real_clock(),
        )
        parts.observe("document_stored")
        if referrals:
            self._wake()
        return accepted

    def preview(self, document: IncomingDocument) -> tuple[str, list[RecordOutcome]]:
        """Read a document without storing or sending anything; return the mapping's id and each record's outcome.

        Raises:
            Rejected: the whole document is refused.
        """
        mapping = self._choose(document)
        return mapping.id, read_records(document.body, mapping, self._context())

    def _read(self, document: IncomingDocument) -> tuple[str, list[NewReferral], list[RecordFault]]:
        mapping_id = ""
        try:
            mapping = self._choose(document)
            mapping_id = mapping.id
            outcomes = read_records(document.body, mapping, self._context())
        except Rejected as error:
            return mapping_id, [], [RecordFault(None, None, error.code, error.field or WHOLE_DOCUMENT, error.detail)]
        referrals: list[NewReferral] = []
        faults: list[RecordFault] = []
        for outcome in outcomes:
            fault = self._find_fault(outcome)
            if fault is not None:
                faults.append(RecordFault(outcome.number, outcome.native_ref, fault.code, fault.field, fault.detail))
            elif outcome.referral is not None:
                referrals.append(_new_referral(outcome))
        return mapping_id, referrals, faults

    def _find_fault(self, outcome: RecordOutcome) -> SafelaneError | None:
        if outcome.error is not None:
            return outcome.error
        if outcome.referral is not None and outcome.referral.sender != self._parts.agency:
            return Rejected("the record belongs to another agency than this gateway's", field="sender")
        return None

    def _choose(self, document: IncomingDocument) -> Mapping:
        limit = self._parts.gateway.max_document_bytes
        if len(document.body) > limit:
            raise TooLarge(f"more than {limit} bytes", field=WHOLE_DOCUMENT)
        if document.mapping is None:
            return recognise_mapping(document.name, document.body, self._mappings)
        for mapping in self._mappings:
            if mapping.id == document.mapping:
                return mapping
        raise Rejected("there is no such mapping at this gateway", field="mapping")

    def _context(self) -> MappingContext:
        directory = self._parts.keeper.current().directory
        return MappingContext(directory=directory, sender=self._parts.agency, received_at=self._parts.clock())


def _new_referral(outcome: RecordOutcome) -> NewReferral:
    referral = outcome.referral
    if referral is None:
        raise Rejected("the record was not read", field=WHOLE_DOCUMENT)
    return NewReferral(
        number=outcome.number,
        native_ref=referral.native_ref,
        native_digest=referral.native_digest,
        kind=referral.kind,
        urgent=referral.urgent,
        relates_to=referral.relates_to,
        content=referral.model_dump_json(exclude_none=True).encode(),
    )
