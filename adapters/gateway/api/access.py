"""Who may use the local API: the bearer of an agency's local token, for that agency alone. In hosted mode the token decides the agency."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from adapters.gateway.agency import AgencyGateway
from schemas.errors import NotAuthenticated

MIN_TOKEN_CHARACTERS = 32
_bearer = HTTPBearer(auto_error=False, description="The local token of the agency's record or case system.")


class LocalAccess:
    """The local tokens, by digest: comparing digests takes the same time whatever was guessed."""

    def __init__(self, gateways: Mapping[bytes, AgencyGateway]) -> None:
        self._gateways = {hashlib.sha256(token).digest(): gateway for token, gateway in gateways.items()}

    def list_gateways(self) -> list[AgencyGateway]:
        """Return every agency's gateway."""
        return list(self._gateways.values())

    def find_gateway(self, token: str) -> AgencyGateway:
        """Return the gateway of the agency whose token this is.

        Raises:
            NotAuthenticated: it is nobody's.
        """
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        found: AgencyGateway | None = None
        for known, gateway in self._gateways.items():
            if hmac.compare_digest(known, digest):
                found = gateway
        if found is None:
            raise NotAuthenticated("the local token is missing or unknown", field="Authorization")
        return found


def agency_gateway(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
) -> AgencyGateway:
    """Return the calling agency's gateway (a FastAPI dependency).

    Raises:
        NotAuthenticated: the token is missing or nobody's.
    """
    access: Any = request.app.state.access
    if credentials is None or not isinstance(access, LocalAccess):
        raise NotAuthenticated("the local token is missing or unknown", field="Authorization")
    return access.find_gateway(credentials.credentials)


CallingAgency = Annotated[AgencyGateway, Depends(agency_gateway)]
