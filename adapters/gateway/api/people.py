"""People whom a request names: staff numbers or ids of the directory, because what we sign of them travels in clear."""

from adapters.gateway.agency import AgencyGateway
from schemas.clear_ids import KnownIds


def require_known(gateway: AgencyGateway, **people: str | None) -> None:
    """Check the ids of people by the name of the member that holds them.

    Raises:
        NamesNobody: one is neither a staff number nor in the directory.
    """
    known = KnownIds.of(gateway.keeper.current().directory)
    for member, person in people.items():
        known.check_person(person, member)
