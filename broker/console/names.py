"""Names for the ids under which the log knows people. The log itself never holds a name: it is looked up for the page, for viewers who may see accounts."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from broker.audit.filters import SearchFilter
from broker.console.access import Capability
from broker.console.page import PageContext

_ACCOUNT_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class PeopleNames:
    """Names by account id and by person id of the directory."""

    def __init__(self, names: Mapping[str, str], accounts: Mapping[str, str]) -> None:
        """Take the names that the viewer may see, and the account id of each user name."""
        self._names = names
        self._accounts = accounts

    def tell(self, person: str | None) -> str:
        """Return how a person is shown: name, else what is known of them; ``–`` for nobody."""
        if not person:
            return "–"
        name = self._names.get(person)
        if name is not None:
            return name
        return f"Console account {person[:8]}" if _ACCOUNT_ID.fullmatch(person) else person

    def resolve(self, search: SearchFilter) -> SearchFilter:
        """Return a search with the account's id where its user name was typed; what is no user name that the viewer may see stays."""
        if search.person is None:
            return search
        return search.model_copy(update={"person": self._accounts.get(search.person.lower(), search.person)})

    def tell_all(self, people: Sequence[str]) -> str:
        """Return several, as a list in a sentence."""
        return ", ".join(self.tell(person) for person in people) or "–"


async def read_names(page: PageContext) -> PeopleNames:
    """Return the names that the viewer may see: of all accounts, of their own agency's, or their own alone."""
    viewer = page.user
    async with page.connection() as connection:
        rows = await connection.fetch(
            "SELECT user_id, name, display_name, person_id FROM console_users WHERE user_id = $1 OR ($2 AND ($3::text IS NULL OR agency = $3))",
            viewer.user_id,
            viewer.may(Capability.READ_USERS),
            viewer.agency,
        )
    names = {row["person_id"]: f"{row['display_name']} ({row['person_id']})" for row in rows if row["person_id"]}
    return PeopleNames(
        names | {str(row["user_id"]): row["display_name"] for row in rows},
        {row["name"]: str(row["user_id"]) for row in rows},
    )
