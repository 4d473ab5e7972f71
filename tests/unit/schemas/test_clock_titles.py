"""Every clock of every pack that is shipped is named by what must happen; none falls back to its code."""

from pathlib import Path

import yaml

import broker.decisions
from schemas.codes import CLOCK_TITLES, name_clock

PACKS = sorted((Path(broker.decisions.__file__).parent / "policies").glob("*/clocks.yaml"))


def test_each_clock_has_a_sentence_of_its_own() -> None:
    assert PACKS
    named = set()
    for pack in PACKS:
        for rule in yaml.safe_load(pack.read_text())["clocks"]:
            title = name_clock(rule["clock"])
            assert title == CLOCK_TITLES[rule["clock"]]
            assert len(title.split()) > 3, title
            assert "_" not in title
            named.add(rule["clock"])
    assert named == set(CLOCK_TITLES), "no title is for a clock that is in no pack"
    assert len(set(CLOCK_TITLES.values())) == len(CLOCK_TITLES)
    assert name_clock("our_own") == "The partnership’s own clock our_own"
