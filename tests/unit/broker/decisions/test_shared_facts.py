# ruff: noqa: S311 - generated cases, not secrets
"""Facts that a header's deliveries share are resolved once, and decide each delivery as if it stood alone."""

from dataclasses import replace
from random import Random

from broker.decisions import DecisionEngine
from broker.decisions.header_facts import DirectoryView, HeaderFacts, build_facts
from tests.support.decisions import default_pack, make_directory
from tests.support.random_headers import NOW, draw

DIRECTORY, PACK = make_directory(), default_pack()


def test_each_delivery_has_the_facts_that_it_would_have_alone() -> None:
    random = Random(11)
    view = DirectoryView(DIRECTORY)
    for _ in range(150):
        first, second = draw(random, DIRECTORY), draw(random, DIRECTORY)
        deliveries = (*first.header.deliveries, *second.header.deliveries)
        header = first.header.model_copy(update={"deliveries": deliveries})
        given = {"sender": first.sender, "registers": first.registers, "pack": PACK, "now": first.now}
        shared = HeaderFacts(header, directory=view, **given)
        for delivery in deliveries:
            alone = header.model_copy(update={"deliveries": (delivery,)})
            assert shared.resolve(delivery) == build_facts(alone, delivery, directory=DIRECTORY, **given)


def test_an_agreement_is_looked_at_again_when_the_local_day_changes() -> None:
    agreement = DIRECTORY.agreements[0]
    parties = (agreement.parties[0], agreement.parties[1])
    view = DirectoryView(DIRECTORY.model_copy(update={"agreements": (agreement,)}))
    kind, purpose = agreement.kinds[0], agreement.purposes[0]
    over = NOW.replace(year=agreement.ends_on.year + 1)
    assert view.find_agreement(parties, kind, purpose, NOW).state == "in_force"
    assert view.find_agreement(parties, kind, purpose, over).state == "expired"
    assert view.find_agreement(parties, kind, purpose, NOW).state == "in_force"


def test_a_revoked_agency_is_unknown_from_that_instant_on() -> None:
    random = Random(3)
    drawn = draw(random, DIRECTORY)
    agency = DIRECTORY.agencies[0]
    revoked = agency.model_copy(update={"revoked_at": NOW})
    view = DirectoryView(DIRECTORY.model_copy(update={"agencies": (revoked,)}))
    assert view.find_agency(agency.id, NOW) is None
    assert view.find_agency(agency.id, NOW.replace(year=NOW.year - 1)) == revoked
    assert view.find_agency(replace(drawn, sender="nobody").sender, NOW) is None


def test_one_engine_decides_all_as_new_engines_decide_each() -> None:
    random = Random(5)
    one = DecisionEngine(PACK, DIRECTORY)
    for _ in range(20):
        drawn = draw(random, DIRECTORY)
        given = {"sender": drawn.sender, "registers": drawn.registers, "now": drawn.now}
        expected = [DecisionEngine(PACK, DIRECTORY).decide(drawn.header, d, **given) for d in drawn.header.deliveries]
        assert one.decide_all(drawn.header, **given) == expected
