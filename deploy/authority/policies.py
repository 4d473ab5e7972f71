"""Puts a policy pack's matrix and digest into the authority's state, so that the next directory version names them."""

from pathlib import Path

from broker.decisions import load_pack
from deploy.authority.state import AuthorityState


def use_policy_pack(state: AuthorityState, pack_folder: Path) -> AuthorityState:
    """Return the state that signs the pack in ``pack_folder``.

    Raises:
        ConfigInvalid: the pack is not valid.
    """
    pack = load_pack(pack_folder)
    return state.model_copy(update={"matrix": pack.matrix.to_directory_rows(), "policy_digest": pack.digest})
