"""What is unusual in the use of the audit: each rule with the figures that break it, and nothing else."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from broker.audit.access_log import PersonDay, UnusualRules, find_unusual
from broker.audit.reader import read_rules
from schemas.errors import MalformedMessage

DAY = PersonDay(
    person="p.ann",
    day=date(2026, 11, 2),
    reads=20,
    searches=5,
    exports=1,
    decisions=2,
    refused_logins=0,
    outside_hours=0,
    referrals=9,
    most_on_one=3,
)
RULES = UnusualRules()


def test_an_ordinary_month_is_not_unusual() -> None:
    assert find_unusual([replace(DAY, day=DAY.day + timedelta(n)) for n in range(20)], RULES) == []
    assert find_unusual([], RULES) == []


@pytest.mark.parametrize(
    ("changes", "rule", "figure"),
    [
        ({"reads": 400}, "many_reads", "405"),
        ({"outside_hours": 2}, "outside_hours", "2 times between 20:00 and 07:00"),
        ({"most_on_one": 10}, "same_referral", "10 times"),
        ({"exports": 5}, "many_exports", "5 exports"),
        ({"refused_logins": 5}, "refused_sign_ins", "5 refused"),
    ],
)
def test_each_rule_says_what_broke_it(changes: dict, rule: str, figure: str) -> None:
    days = [replace(DAY, day=DAY.day + timedelta(n)) for n in range(10)]
    days[4] = replace(days[4], **changes)
    (found,) = find_unusual(days, RULES)
    assert (found.person, found.day, found.rule) == ("p.ann", days[4].day, rule)
    assert figure in found.words


def test_who_always_reads_much_is_measured_by_their_own_days() -> None:
    busy = [replace(DAY, day=DAY.day + timedelta(n), reads=150) for n in range(10)]
    assert find_unusual(busy, RULES) == []
    busy[3] = replace(busy[3], reads=600)
    assert [found.day for found in find_unusual(busy, RULES)] == [busy[3].day]


def test_a_partnership_sets_its_own_figures() -> None:
    rules = read_rules({"day_starts": "06:30", "exports_a_day": 1})
    assert (rules.day_starts.hour, rules.exports_a_day, rules.reads_a_day) == (6, 1, 100)
    for wrong in ({"day_starts": "soon"}, {"unknown": 1}):
        with pytest.raises(MalformedMessage):
            read_rules(wrong)
