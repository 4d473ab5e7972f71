"""A file of events with their salts and proofs: what the log holds, in a form that shows it without the hub.

Members: ``checkpoint`` (the signed head with cosignatures), ``events`` (each ``position``, ``kind``, ``event`` and ``salt`` in base64url, ``proof`` as C2SP
tlog-proof; of an erased one ``entry`` in place of the event) and ``directory`` (``versions`` as the authority signed them, ``authority`` its public keys). ``left_out`` are positions that were asked for and
that no quorum covered yet.
"""

from collections.abc import Mapping
from typing import Any, Final

from schemas.canonical import canonical_bytes, parse_object
from schemas.errors import MalformedMessage

FORMAT: Final = "safelane-event-proofs-1"
MAX_FILE_BYTES: Final = 64 * 1024 * 1024


def split_proofs(data: bytes) -> dict[str, bytes]:
    """Return a file's parts under the names that an evidence pack has for them; nothing is verified.

    Raises:
        MalformedMessage, TooLarge: it is not such a file.
    """
    members = parse_object(data, max_bytes=MAX_FILE_BYTES, field="proofs")
    if members.get("format") != FORMAT or not isinstance(members.get("checkpoint"), str):
        raise MalformedMessage("is not a file of proofs", field="proofs")
    events, directory = members.get("events"), members.get("directory")
    if not isinstance(events, list) or not isinstance(directory, Mapping):
        raise MalformedMessage("is not a file of proofs", field="proofs")
    checkpoint: Any = members["checkpoint"]
    return {
        "checkpoint.txt": checkpoint.encode(),
        "events.json": canonical_bytes(events),
        "directory.json": canonical_bytes(directory),
    }
