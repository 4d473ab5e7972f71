"""Verifying a hub's log from its URL: signed heads, every entry, every tile, the witnesses' quorum, and what was seen of it before.

Nothing that the hub says is believed by itself. The pinned authority signed the directory; the directory names the log's key and the witnesses; they
signed heads; the entries make those heads. With no directory at hand the log's key is the hub's own word, and that is left open.
"""

import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx

from deploy.evidence.directory_copy import DirectoryCopy
from deploy.evidence.log_fetch import LogSource, Walk
from deploy.evidence.quorum import Quorum, describe_quorum, describe_shortage, find_quorum
from deploy.evidence.verdict import Verdict
from schemas.checkpoint import Checkpoint, NoteVerifier, read_checkpoint, verify_checkpoint
from schemas.directory import HubKeys
from schemas.errors import DependencyUnavailable, MalformedMessage, SignatureInvalid
from schemas.log_epochs import ProofLost, find_verifier, list_kept_checkpoints
from schemas.log_state import LogState

TIMEOUT_SECONDS: Final = 30.0
FRESH_FOR: Final = timedelta(minutes=30)
"""The log beats when it is idle; one whose last cosignature is older than this is silent, or an old one is shown."""
_LOOKS: Final = 3
_PAUSE_SECONDS: Final = 3.0
NOT_PROVED: Final = (
    "that what was logged is true: an event is the word of whoever caused it",
    "that nothing happened that was never logged: agencies' own records show that",
    "what commitments say: only whoever has the event and its salt can show it (safelane audit export)",
)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the log apart from the hub: its key, the signed directory, and heads that were kept before."""

    now: datetime
    ca_pem: str | None = None
    key: str | None = None
    directory: DirectoryCopy | None = None
    remembered: Sequence[LogState] = field(default=(), repr=False)


def check_log(
    url: str,
    known: Known,
    *,
    transport: httpx.BaseTransport | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> tuple[Verdict, str]:
    """Check the log at ``url``; return the verdict, and the head to remember: the newest witnessed one, else the newest.

    Raises:
        DependencyUnavailable: the hub does not answer.
        ConfigInvalid, MalformedMessage: the key that was given is not one.
    """
    base = url.rstrip("/").removesuffix("/log")
    context = ssl.create_default_context(cadata=known.ca_pem)
    with httpx.Client(
        base_url=base, verify=context, timeout=TIMEOUT_SECONDS, trust_env=False, transport=transport
    ) as client:
        try:
            return _LogCheck(LogSource(client), known, pause).run()
        except httpx.HTTPError:
            why = ", or its certificate is of the partnership's own CA: give the trust file (--trust)"
            raise DependencyUnavailable(f"the hub does not answer{'' if known.ca_pem else why}", field="url") from None


class _LogCheck:
    def __init__(self, source: LogSource, known: Known, pause: Callable[[float], None]) -> None:
        self._source = source
        self._known = known
        self._pause = pause
        self.verdict = Verdict()

    def run(self) -> tuple[Verdict, str]:
        verdict = self.verdict
        hub = self._find_hub()
        log = NoteVerifier.from_text(hub.log_verifier)
        sizes = {read_checkpoint(note).size for state in self._known.remembered for note in state.notes}
        sizes |= {kept.size for kept in list_kept_checkpoints(hub)}
        try:
            witnessed, note = self._fetch_heads(max(sizes, default=0))
            head = verify_checkpoint(note, log)
            sizes |= {read_checkpoint(witnessed).size} if witnessed is not None else set()
        except SignatureInvalid:
            verdict.broken.append("the newest head is not signed by the log's key as it is known here")
            return verdict, ""
        except MalformedMessage:
            verdict.broken.append("what the hub serves as a head is not one")
            return verdict, ""
        walk = Walk()

        def read_entries() -> str:
            nonlocal walk
            walk = self._source.walk(head.size, sizes)
            if walk.roots[head.size] != head.root:
                raise MalformedMessage("the entries do not make the signed root", field="log.tiles")
            return f"all {head.size} entries make the root that its key has signed; the first that has a date is of {walk.first_at or 'no date'}"

        if verdict.attempt("entries", read_entries):
            verdict.attempt("tiles", lambda: self._source.check_tiles(head.size, head.root))
            self._check_directory(walk, hub)
            self._check_witnesses(walk, witnessed, head, log)
            for state in self._known.remembered:
                self._check_remembered(state, walk, head, hub)
        return verdict, witnessed or note

    def _find_hub(self) -> HubKeys:
        """Return the log's key and epochs: from the directory, else the key that was given, else what the hub says."""
        if self._known.directory is not None:
            return self._known.directory.directory.hub
        if self._known.key is None:
            self.verdict.open.append(
                "whose log this is: give the officers' directory (--trust with --directory or --as) or the log's key from it (--key)"
            )
        verifier = self._known.key or self._source.fetch_text("key")
        return HubKeys(log_origin=NoteVerifier.from_text(verifier).name, log_verifier=verifier)

    def _fetch_heads(self, largest: int) -> tuple[str | None, str]:
        """Return the witnessed head and the newest, in that order: the log may grow between. A server that lags is asked again."""
        for _ in range(_LOOKS - 1):
            witnessed, note = self._source.find_text("checkpoint/witnessed"), self._source.fetch_text("checkpoint")
            if read_checkpoint(note).size >= largest:
                return witnessed, note
            self._pause(_PAUSE_SECONDS)
        return self._source.find_text("checkpoint/witnessed"), self._source.fetch_text("checkpoint")

    def _check_directory(self, walk: Walk, hub: HubKeys) -> None:
        copy, verdict = self._known.directory, self.verdict
        if copy is None:
            return
        directory = copy.directory
        name = f"directory version {directory.version} of {directory.partnership.id}"
        verdict.proved.append(f"its key, {hub.log_origin}, is the one in {name}, which the pinned authority signed")
        if hub.earlier:
            lost = read_checkpoint(hub.starting_checkpoint).size - hub.earlier[-1].kept_size
            verdict.proved.append(
                f"the log is in epoch {hub.epoch}: the authority signed that {hub.earlier[-1].kept_size} entries were kept of"
                f" the epoch before and {lost} that witnesses had seen were lost"
            )
        for kept in list_kept_checkpoints(hub):
            if walk.roots.get(kept.size) != kept.root:
                verdict.broken.append(
                    f"what was kept of an earlier epoch, {kept.size} entries, is not what the authority signed. Use the telephone."
                )
        logged = walk.directory.get("version_number")
        if logged == directory.version and walk.directory.get("sha256") != copy.digest:
            verdict.broken.append(
                f"the log has another {name}: the authority signed two, or this hub took in a false one"
            )
        elif logged != directory.version:
            verdict.open.append(f"that {name} is the newest: the log's last is version {logged}")
        if not directory.issued_at <= self._known.now < directory.expires_at:
            verdict.open.append(f"that {name} is in force: it expired on {directory.expires_at:%d %B %Y %H:%M:%S} UTC")

    def _check_witnesses(self, walk: Walk, witnessed: str | None, head: Checkpoint, log: NoteVerifier) -> None:
        copy, verdict = self._known.directory, self.verdict
        if copy is None:
            verdict.open.append("that others were shown the same log: the officers' directory names its witnesses")
            return
        if witnessed is None:
            why = "no quorum has cosigned a head yet" if copy.directory.witnesses.quorum else "the directory names none"
            verdict.open.append(f"that witnesses saw this log: {why}")
            return
        try:
            covered = verify_checkpoint(witnessed, log)
            quorum = find_quorum(witnessed, copy.directory)
        except SignatureInvalid:
            verdict.open.append("that witnesses saw this log: their last head is not signed by its key")
            return
        if quorum is None:
            verdict.open.append(f"that witnesses saw this log: {describe_shortage(witnessed, copy.directory)}")
        elif covered.size > head.size:
            verdict.broken.append(
                f"the log went back: it shows {head.size} entries, and the witnesses cosigned {covered.size}. Use the telephone."
            )
        elif walk.roots[covered.size] != covered.root:
            verdict.broken.append(
                f"the log told two stories: the witnesses cosigned another one of {covered.size} entries. Use the telephone."
            )
        else:
            words = f"{covered.size} entries were so no later than {describe_quorum(quorum, copy.directory)}"
            verdict.proved.append(f"others were shown the same log: {words}")
            self._check_freshness(quorum, head.size - covered.size)

    def _check_freshness(self, quorum: Quorum, newer: int) -> None:
        if self._known.now - quorum.since > FRESH_FOR:
            self.verdict.open.append(
                f"that this is the log as it is now: no quorum has cosigned since {quorum.since:%d %B %Y %H:%M:%S} UTC"
            )
        elif newer:
            self.verdict.proved.append(
                f"{newer} newer entries are signed by its key alone: the witnesses look every few seconds"
            )

    def _check_remembered(self, state: LogState, walk: Walk, head: Checkpoint, hub: HubKeys) -> None:
        """The heads that ``state`` kept must lie on the line of entries that was read."""
        verdict, sizes, since, lost = self.verdict, set[int](), list[datetime](), False
        for note in state.notes:
            try:
                kept = verify_checkpoint(note, find_verifier(hub, note))
            except ProofLost:
                lost = True
                continue
            except SignatureInvalid:
                verdict.open.append(f"what {state.witness} kept: a head there is not signed by this log's key")
                return
            if kept.size > head.size:
                verdict.broken.append(
                    f"the log went back: it shows {head.size} entries, and {state.witness} kept its head of {kept.size}. Use the telephone."
                )
                return
            if kept.size and walk.roots[kept.size] != kept.root:
                verdict.broken.append(
                    f"the log told two stories: {state.witness} kept another head of {kept.size} entries. Use the telephone."
                )
                return
            sizes.add(kept.size)
            since += self._find_since(note)
        if lost:
            verdict.open.append(f"what {state.witness} kept of an earlier epoch was lost with what it covered")
        if sizes:
            when = f", the first by {min(since):%d %B %Y %H:%M:%S} UTC" if since else ""
            verdict.proved.append(
                f"it has only grown since {min(sizes)} entries: what {state.witness} kept lies on it{when}"
            )

    def _find_since(self, note: str) -> list[datetime]:
        copy = self._known.directory
        quorum = find_quorum(note, copy.directory) if copy else None
        return [quorum.since.astimezone(UTC)] if quorum else []
