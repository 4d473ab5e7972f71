"""What the authority remembers between directory versions: whose keys count, which policies and witnesses, and the hub's log key."""

from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from deploy.authority.key_file import write_durably
from schemas.clear_forms import AgencyId, PepperId
from schemas.directory import AgencyKeys, HubKeys, MatrixRow, Person, WitnessPolicy
from schemas.errors import ConfigInvalid, IntegrityBroken

STATE_FILE = "state.json"


class StateModel(BaseModel):
    """Base of the state's parts: frozen, and closed to unknown members."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EnrolledAgency(StateModel):
    """An agency whose keys an officer approved."""

    keys: AgencyKeys
    enrolled_at: AwareDatetime
    revoked_at: AwareDatetime | None = None


class AuthorityState(StateModel):
    """The authority's memory. ``directory_version`` is the last one signed and written; 0 before the first."""

    directory_version: int = 0
    directory_sha256: str = ""
    pepper_id: PepperId
    successor_thumbprint: str
    ca_certificate: str
    ca_key: str
    enrolled: dict[AgencyId, EnrolledAgency] = {}
    people: tuple[Person, ...] = ()
    """People who approve releases (not the authority's officers, who are added from their key files)."""
    matrix: tuple[MatrixRow, ...] = ()
    policy_digest: str = ""
    hub: HubKeys = HubKeys()
    witnesses: WitnessPolicy = WitnessPolicy()
    welcomed: tuple[str, ...] = ()
    """Enrolments whose welcome is signed."""


def load_state(folder: Path) -> AuthorityState:
    """Read the state from an authority's folder.

    Raises:
        ConfigInvalid: there is none: run ``safelane authority init``.
        IntegrityBroken: it was altered or damaged.
    """
    try:
        text = (folder / STATE_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigInvalid("no authority here: run 'safelane authority init'", field="folder") from None
    try:
        return AuthorityState.model_validate_json(text)
    except ValidationError:
        raise IntegrityBroken("the authority's state is not of its form", field=STATE_FILE) from None


def save_state(folder: Path, state: AuthorityState, **changes: Any) -> AuthorityState:
    """Write the state with ``changes`` and return it. A crash leaves the old state or the new one."""
    changed = state.model_copy(update=changes)
    write_durably(folder / STATE_FILE, changed.model_dump_json(indent=1).encode(), mode=0o600)
    return changed
