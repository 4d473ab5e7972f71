"""Puts a policy pack's matrix and digest into the authority's state, so that the next directory version names them."""

from pathlib import Path

from broker.decisions import PolicyPack, bundle_pack, load_bundle
from deploy.authority.state import AuthorityState


def use_policy_pack(state: AuthorityState, pack_folder: Path, local: Path | None = None) -> AuthorityState:
    """Return the state that signs the pack in ``pack_folder``, with the local pack in ``local`` over it.

    Raises:
        ConfigInvalid: a pack is not valid, or the local one does more than it may.
    """
    return name_pack(state, load_bundle(bundle_pack(pack_folder, local)))


def name_pack(state: AuthorityState, pack: PolicyPack) -> AuthorityState:
    """Return the state that signs ``pack``."""
    return state.model_copy(update={"matrix": pack.matrix.to_directory_rows(), "policy_digest": pack.digest})
