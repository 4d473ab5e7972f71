"""The policy packs that this hub can decide by. Which one is in force, the signed directory says; it changes with the directory, without a restart."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from broker.decisions import DEFAULT_PACK, DecisionEngine, PolicyPack, bundle_pack, load_bundle
from broker.decisions.bundle import load_stored
from broker.registry.snapshot import DirectorySnapshot
from broker.store import policies as policy_store
from broker.store.pool import Connection
from schemas.directory import Directory
from schemas.errors import ConfigInvalid, DependencyUnavailable

MOST_LOADED = 8


class PolicyNotHeld(DependencyUnavailable):
    """The directory names a pack that this program does not have or cannot load. Referrals wait; none is lost and none is decided otherwise."""

    code = "policy-not-held"
    public_message = "The policy pack that the officers signed is not on this hub. Its operator must lodge it."


@dataclass(frozen=True, slots=True)
class InstalledPack:
    """The pack that the configuration names (with its local pack), and its text."""

    pack: PolicyPack
    body: bytes = field(repr=False)

    @classmethod
    def load(cls, folder: Path | None, local: Path | None) -> "InstalledPack":
        """Load the pack in ``folder`` (none: the one that comes along), with a local pack over it if there is one.

        Raises:
            ConfigInvalid: a pack is not valid, or the local one does more than it may.
        """
        body = bundle_pack(folder or DEFAULT_PACK, local)
        return cls(load_bundle(body), body)


class PackShelf:
    """Gives the decision engine of a directory snapshot: of the pack that the directory names, or the installed one where it names none."""

    def __init__(self, installed: InstalledPack) -> None:
        """Keep the installed pack; others are loaded from the snapshot's when a directory names them."""
        self.installed = installed
        self._loaded = {installed.pack.digest: installed.pack}
        self._engine: tuple[DirectorySnapshot, DecisionEngine] | None = None

    def engine_for(self, snapshot: DirectorySnapshot) -> DecisionEngine:
        """Return the engine for a snapshot, made once for each directory.

        Raises:
            PolicyNotHeld: the pack that the directory names is not here, or cannot be loaded.
            IntegrityBroken: what is stored under that digest is another pack.
        """
        if self._engine is None or self._engine[0].directory is not snapshot.directory:
            self._engine = snapshot, DecisionEngine(self.find_pack(snapshot), snapshot.directory)
        return self._engine[1]

    def find_pack(self, snapshot: DirectorySnapshot) -> PolicyPack:
        """Return the pack in force.

        Raises:
            PolicyNotHeld, IntegrityBroken: as for ``engine_for``.
        """
        digest = self.find_digest(snapshot.directory)
        if digest not in self._loaded:
            if snapshot.pack is None:
                raise PolicyNotHeld(field="directory.policy_digest")
            self.keep(digest, snapshot.pack)
        return self._loaded[digest]

    def find_digest(self, directory: Directory) -> str:
        """Return the digest of the pack that a directory puts into force."""
        return directory.policy_digest or self.installed.pack.digest

    def find_loaded(self, digest: str) -> PolicyPack | None:
        """Return a pack that is loaded, or none."""
        return self._loaded.get(digest)

    def keep(self, digest: str, body: bytes) -> PolicyPack:
        """Load a stored pack and keep it loaded, the latest few.

        Raises:
            PolicyNotHeld: this program cannot load it.
            IntegrityBroken: it is not the pack of that digest.
        """
        try:
            pack = load_stored(body, digest)
        except ConfigInvalid as error:
            raise PolicyNotHeld(f"cannot be loaded here: {error.detail}", field=error.field) from None
        while len(self._loaded) >= MOST_LOADED:
            self._loaded.pop(next(d for d in self._loaded if d != self.installed.pack.digest))
        self._loaded[digest] = pack
        return pack

    async def lodge_installed(self, connection: Connection, now: datetime) -> None:
        """Store the installed pack, so that what it decides can be run again after an upgrade brought another."""
        pack = self.installed.pack
        await policy_store.insert_pack(connection, pack.digest, pack.id, pack.title, self.installed.body, now, None)
