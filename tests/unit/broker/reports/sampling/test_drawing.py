"""A sample is the same for everybody, and every stratum gives its share."""

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.reports.sampling.drawing import Candidate, allocate, digest_sample, draw_sample

POPULATION = [Candidate(f"m{n:03}", f"r{n}", ("CP_S47" if n % 3 else "FGM",)) for n in range(60)]


def test_the_same_seed_gives_the_same_sample_in_any_order() -> None:
    first = draw_sample("seed", POPULATION, 12)
    assert draw_sample("seed", reversed(POPULATION), 12) == first
    assert digest_sample(reversed(first)) == digest_sample(first)
    assert draw_sample("another", POPULATION, 12) != first
    assert sorted(c.stratum[0] for c in first) == ["CP_S47"] * 8 + ["FGM"] * 4


def test_a_known_sample() -> None:
    """Counted with sha256sum: printf 'seed m000' | sha256sum, and so on; a change of the method breaks old samples."""
    assert [c.message_id for c in draw_sample("seed", POPULATION[:6], 2)] == KNOWN


KNOWN = ["m005", "m000"]


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.tuples(st.text(min_size=1, max_size=3)), st.integers(min_value=1, max_value=40), min_size=1, max_size=8
    ),
    st.integers(min_value=0, max_value=60),
)
def test_shares_add_up_and_no_stratum_gives_more_than_it_has(sizes: dict[tuple[str, ...], int], size: int) -> None:
    shares = allocate(sizes, size)
    assert sum(shares.values()) == min(size, sum(sizes.values()))
    assert all(0 <= shares[stratum] <= count for stratum, count in sizes.items())
    if size >= len(sizes):
        assert min(shares.values()) >= 1
