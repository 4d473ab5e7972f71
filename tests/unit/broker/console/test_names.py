"""Names for ids: what the viewer may not see stays an id that says what it is."""

from broker.audit.filters import SearchFilter
from broker.console.names import PeopleNames

ACCOUNT = "0b6e4b1c-2f7e-4a57-9d55-0d3f4e6c9a10"
PEOPLE = PeopleNames({ACCOUNT: "Ann Hale", "ann.hale": "Ann Hale (ann.hale)"}, {"ann.hale": ACCOUNT})


def test_known_people_have_names_and_others_what_is_known_of_them() -> None:
    assert PEOPLE.tell(ACCOUNT) == "Ann Hale"
    assert PEOPLE.tell("ann.hale") == "Ann Hale (ann.hale)"
    assert PEOPLE.tell("1" + ACCOUNT[1:]) == "Console account 1b6e4b1c"
    assert PEOPLE.tell("hub serve") == "hub serve"
    assert PEOPLE.tell(None) == PEOPLE.tell("") == "–"
    assert PEOPLE.tell_all([ACCOUNT, "bob.lee"]) == "Ann Hale, bob.lee"


def test_a_user_name_stands_for_its_account_in_a_search() -> None:
    assert PEOPLE.resolve(SearchFilter(person="Ann.Hale")).person == ACCOUNT
    assert PEOPLE.resolve(SearchFilter(person="bob.lee")).person == "bob.lee"
    assert PEOPLE.resolve(SearchFilter()).person is None
