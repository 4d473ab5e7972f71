"""Base of signed objects' payloads."""

from pydantic import BaseModel, ConfigDict


class SignedModel(BaseModel):
    """A payload that is signed: frozen, and closed to unknown members. Codes, ids and instants only: the words are in sealed sections."""

    model_config = ConfigDict(frozen=True, extra="forbid")
