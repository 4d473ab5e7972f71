"""Samples, what is in them and how it was graded: seeds in the log before anything is drawn, each grade an event of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from secrets import token_hex
from typing import Any, Final

import asyncpg

from broker.log import LogWriter, NewEvent
from broker.reports.periods import Period, local_day
from broker.reports.sampling.drawing import Candidate, digest_sample, draw_sample
from broker.store.pool import Connection
from schemas.errors import Conflict, MalformedMessage, NotFound

STRATA: Final = ("kind", "area", "sender")
GRADES: Final = ("good", "adequate", "inadequate", "cannot_say")
THEMES: Final = (
    "need_to_know",
    "lawful_basis",
    "consent_and_telling",
    "risk",
    "voice_of_the_child",
    "ethnicity_and_culture",
    "timeliness",
    "accuracy",
    "other",
)
ACTIONS: Final = ("none", "feedback", "training", "policy_change", "system_change", "urgent_referral")
MOST_DRAWN: Final = 500
_SEED_BYTES: Final = 32


class SampleAskedWrongly(MalformedMessage):
    """A sample or a grade is not as it must be."""

    code = "sample"
    public_message = "The sample cannot be drawn or graded like this."


@dataclass(frozen=True, slots=True)
class Grading:
    """An auditor's grade of one referral of a sample."""

    sample_id: str
    number: int
    grade: str
    theme: str
    action: str
    reaudit_on: date | None = None


async def publish_seed(
    connection: Connection,
    log: LogWriter,
    *,
    period: Period,
    strata: Sequence[str],
    size: int,
    by: str,
    now: datetime,
    make_seed: Callable[[int], str] = token_hex,
) -> str:
    """Publish a seed in the log, with what will be drawn by it, and return the sample's id. Nothing can be drawn before that is committed.

    Raises:
        SampleAskedWrongly: the period is not over, a stratum is unknown, or the size is not 1 to 500.
    """
    if local_day(now) <= period.last:
        raise SampleAskedWrongly("the period must be over, so that nobody can add to it", field="to")
    if set(strata) - set(STRATA) or len(set(strata)) != len(strata):
        raise SampleAskedWrongly(f"must be of {', '.join(STRATA)}", field="strata")
    if not 1 <= size <= MOST_DRAWN:
        raise SampleAskedWrongly(f"must be from 1 to {MOST_DRAWN}", field="size")
    sample_id, seed = f"sample_{make_seed(8)}", make_seed(_SEED_BYTES)
    await connection.execute(
        "INSERT INTO audit_samples (sample_id, seed, first_on, last_on, strata, size, created_by, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        sample_id,
        seed,
        period.first,
        period.last,
        list(strata),
        size,
        by,
        now,
    )
    members = {
        "sample_id": sample_id,
        "seed": seed,
        "from_on": period.first.isoformat(),
        "to_on": period.last.isoformat(),
        "strata": list(strata),
        "size": size,
        "by": by,
        "at": now.isoformat(),
    }
    await log.append(connection, [NewEvent.clear("sample_seeded", members)], at=now)
    return sample_id


async def draw_published(
    connection: Connection, log: LogWriter, sample_id: str, *, by: str, now: datetime
) -> list[Candidate]:
    """Draw a sample whose seed is in the log, once, and log how many it was drawn from and its digest.

    Raises:
        NotFound: there is no such sample.
        Conflict: it is drawn already.
    """
    sample = await read_sample(connection, sample_id)
    if sample["drawn_at"] is not None:
        raise Conflict("is drawn already", field="sample_id")
    population = await read_population(connection, sample)
    drawn = draw_sample(sample["seed"], population, sample["size"])
    done = await connection.execute(
        "UPDATE audit_samples SET drawn_at = $2, population = $3 WHERE sample_id = $1 AND drawn_at IS NULL",
        sample_id,
        now,
        len(population),
    )
    if done != "UPDATE 1":
        raise Conflict("is drawn already", field="sample_id")
    await connection.copy_records_to_table(
        "audit_sample_items",
        columns=("sample_id", "number", "message_id", "referral_id", "stratum"),
        records=[(sample_id, n, c.message_id, c.referral_id, list(c.stratum)) for n, c in enumerate(drawn, 1)],
    )
    members = {
        "sample_id": sample_id,
        "population": len(population),
        "drawn": len(drawn),
        "sha256": digest_sample(drawn),
        "by": by,
        "at": now.isoformat(),
    }
    await log.append(connection, [NewEvent.clear("sample_drawn", members)], at=now)
    return drawn


async def read_population(connection: Connection, sample: asyncpg.Record) -> list[Candidate]:
    """Return the new referrals that a sample is drawn from."""
    period = Period(sample["first_on"], sample["last_on"])
    rows = await connection.fetch(
        "SELECT message_id, referral_id, kind, area, sender FROM report_referrals WHERE accepted_at >= $1 AND accepted_at < $2"
        " AND counted AND kind NOT IN ('UPDATE', 'CORRECTION', 'OUTCOME', 'REQUEST') AND event <> 'update'",
        period.starts_at,
        period.ends_at,
    )
    return [
        Candidate(str(r["message_id"]), r["referral_id"], tuple(r[name] for name in sample["strata"])) for r in rows
    ]


async def grade_item(connection: Connection, log: LogWriter, grading: Grading, *, by: str, now: datetime) -> None:
    """Grade one referral of a sample; an auditor's later grade of the same replaces theirs, and both are in the log.

    Raises:
        SampleAskedWrongly: a code is not on its list, or an action other than none lacks the day of its re-audit.
        NotFound: the sample has no such referral.
    """
    for value, known, name in (
        (grading.grade, GRADES, "grade"),
        (grading.theme, THEMES, "theme"),
        (grading.action, ACTIONS, "action"),
    ):
        if value not in known:
            raise SampleAskedWrongly(f"must be one of {', '.join(known)}", field=name)
    if grading.action != "none" and (grading.reaudit_on is None or grading.reaudit_on <= local_day(now)):
        raise SampleAskedWrongly("an action needs a later day on which it is audited again", field="reaudit_on")
    values = (grading.sample_id, grading.number)
    known_item = await connection.fetchval(
        "SELECT 1 FROM audit_sample_items WHERE sample_id = $1 AND number = $2", *values
    )
    if known_item is None:
        raise NotFound("the sample has no such referral", field="number")
    await connection.execute(
        "INSERT INTO audit_grades (sample_id, number, auditor, grade, theme, action, reaudit_on, graded_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (sample_id, number, auditor) DO UPDATE SET grade = excluded.grade,"
        " theme = excluded.theme, action = excluded.action, reaudit_on = excluded.reaudit_on, graded_at = excluded.graded_at",
        *values,
        by,
        grading.grade,
        grading.theme,
        grading.action,
        grading.reaudit_on,
        now,
    )
    members: dict[str, Any] = {
        "sample_id": grading.sample_id,
        "number": grading.number,
        "by": by,
        "grade": grading.grade,
        "theme": grading.theme,
        "action": grading.action,
        "reaudit_on": grading.reaudit_on.isoformat() if grading.reaudit_on else None,
        "at": now.isoformat(),
    }
    await log.append(connection, [NewEvent.salted("sample_graded", members)], at=now)


async def read_sample(connection: Connection, sample_id: str) -> asyncpg.Record:
    """Return a sample.

    Raises:
        NotFound: there is none of that id.
    """
    row = await connection.fetchrow("SELECT * FROM audit_samples WHERE sample_id = $1", sample_id)
    if row is None:
        raise NotFound("there is no such sample", field="sample_id")
    return row


async def list_samples(connection: Connection, most: int = 200) -> list[asyncpg.Record]:
    """Return samples, newest first, each with how much of it is graded, graded twice, and agreed on by all who graded it."""
    rows: list[asyncpg.Record] = await connection.fetch(
        "WITH graded AS (SELECT sample_id, number, count(*) AS auditors, count(DISTINCT grade) AS grades FROM audit_grades GROUP BY 1, 2)"
        " SELECT s.*, count(g.number) AS graded, count(*) FILTER (WHERE g.auditors > 1) AS twice,"
        " count(*) FILTER (WHERE g.auditors > 1 AND g.grades = 1) AS agreed FROM audit_samples s LEFT JOIN graded g USING (sample_id)"
        " GROUP BY s.sample_id ORDER BY s.created_at DESC LIMIT $1",
        most,
    )
    return rows


async def list_items(connection: Connection, sample_id: str) -> list[asyncpg.Record]:
    """Return a sample's referrals in the order in which they were drawn, each with its auditors' grades as JSON."""
    rows: list[asyncpg.Record] = await connection.fetch(
        "SELECT i.number, i.message_id, i.referral_id, i.stratum, r.kind, r.area, r.sender, r.accepted_at,"
        " array_agg(g.auditor ORDER BY g.auditor) FILTER (WHERE g.auditor IS NOT NULL) AS auditors,"
        " array_agg(g.grade ORDER BY g.auditor) FILTER (WHERE g.auditor IS NOT NULL) AS grades,"
        " array_agg(g.theme ORDER BY g.auditor) FILTER (WHERE g.auditor IS NOT NULL) AS themes,"
        " array_agg(g.action ORDER BY g.auditor) FILTER (WHERE g.auditor IS NOT NULL) AS actions,"
        " array_agg(g.reaudit_on ORDER BY g.auditor) FILTER (WHERE g.auditor IS NOT NULL) AS reaudits"
        " FROM audit_sample_items i LEFT JOIN report_referrals r USING (message_id) LEFT JOIN audit_grades g USING (sample_id, number)"
        " WHERE i.sample_id = $1 GROUP BY i.sample_id, i.number, r.message_id ORDER BY i.number",
        sample_id,
    )
    return rows
