"""Draws a stratified sample from a seed. Pure: the same seed, population and strata give the same sample, here or in anybody's own program.

Within a stratum referrals are ordered by SHA-256 of seed, a space and the message id; the first so many are drawn. Each stratum gets its share of the
sample (largest remainder), and at least one while there are enough to give.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class Candidate:
    """A referral that can be drawn: its message's id and the values of its strata."""

    message_id: str
    referral_id: str
    stratum: tuple[str, ...]


def draw_sample(seed: str, population: Iterable[Candidate], size: int) -> list[Candidate]:
    """Return the sample, stratum by stratum, in the order in which it was drawn."""
    strata: dict[tuple[str, ...], list[Candidate]] = {}
    for candidate in population:
        strata.setdefault(candidate.stratum, []).append(candidate)
    shares = allocate({stratum: len(members) for stratum, members in strata.items()}, size)
    drawn: list[Candidate] = []
    for stratum in sorted(strata):
        ordered = sorted(strata[stratum], key=lambda c: (_rank(seed, c.message_id), c.message_id))
        drawn += ordered[: shares[stratum]]
    return drawn


def allocate(sizes: Mapping[tuple[str, ...], int], size: int) -> dict[tuple[str, ...], int]:
    """Return how many each stratum gives: in proportion by largest remainder, at least one each where the sample is large enough."""
    whole = sum(sizes.values())
    size = min(size, whole)
    if not size:
        return dict.fromkeys(sizes, 0)
    least = 1 if size >= len(sizes) else 0
    shares = {stratum: max(least, size * count // whole) for stratum, count in sizes.items()}
    by_remainder = sorted(sizes, key=lambda s: (-(size * sizes[s] % whole), s))
    while (missing := size - sum(shares.values())) != 0:
        _adjust(shares, sizes, by_remainder, missing, least)
    return shares


def _adjust(
    shares: dict[tuple[str, ...], int],
    sizes: Mapping[tuple[str, ...], int],
    order: Sequence[tuple[str, ...]],
    missing: int,
    least: int,
) -> None:
    """Give one more to, or take one from, as many strata as need it, those with the largest (or smallest) remainder first."""
    for stratum in order if missing > 0 else reversed(order):
        if missing > 0 and shares[stratum] < sizes[stratum]:
            shares[stratum] += 1
            missing -= 1
        elif missing < 0 and shares[stratum] > least:
            shares[stratum] -= 1
            missing += 1
        if missing == 0:
            return


def _rank(seed: str, message_id: str) -> bytes:
    return sha256(f"{seed} {message_id}".encode()).digest()


def digest_sample(drawn: Iterable[Candidate]) -> str:
    """Return the digest that the log holds of a drawn sample: hexadecimal SHA-256 of its message ids, sorted, one a line."""
    return sha256("\n".join(sorted(c.message_id for c in drawn)).encode()).hexdigest()
