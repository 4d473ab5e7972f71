"""A county's audit of any size, made by PostgreSQL itself: messages, deliveries, receipts, holds, clocks, log entries, and what the projector makes of them.

Rows have the shape of real ones and stand in the proportions of ``tests.support.logged_referrals``: eight events a referral, over one year. Proofs are
not made: nothing here reads them. Constraints are not checked while filling, and the search's indexes are made at the end, as a restore would.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_bytes
from typing import Any, Final

import asyncpg

from schemas.merkle import HASH_BYTES, RightEdge
from tests.support.logged_referrals import (
    KIND_WEIGHTS,
    KINDS,
    RECEIVERS,
    ROW_WEIGHTS,
    ROWS,
    SCHOOLS,
    SENDER_WEIGHTS,
    SENDERS,
)

EVENTS_A_REFERRAL: Final = 8
_SHAPES: Final = 20_000
_PEOPLE: Final = 60
_CHUNK: Final = 250_000
_OUTCOMES: Final = {"D12": "held", "D9": "withheld", "D7": "withheld"}
OnStep = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """How many referrals, ending when."""

    referrals: int
    ends_at: datetime
    span: timedelta = timedelta(days=365)

    @property
    def events(self) -> int:
        return self.referrals * EVENTS_A_REFERRAL


_SHAPE_TABLES = """
CREATE TEMP TABLE shapes (shape integer PRIMARY KEY, sender text, kind text, first text, second text, first_outcome text, first_rule text,
  second_outcome text, second_rule text, met boolean, person text, looked boolean);
CREATE TEMP TABLE shape_events (shape integer, slot integer, kind text, sender text, recipient text, referral_kind text, state text, rule text,
  delivery integer, stream integer);
"""
_STREAMS = """
INSERT INTO audit_streams (kind, sender, recipient, referral_kind, state, rule)
SELECT DISTINCT kind, sender, recipient, referral_kind, state, rule FROM shape_events;
ANALYZE audit_streams; ANALYZE shape_events;
UPDATE shape_events e SET stream = s.stream FROM audit_streams s
  WHERE concat_ws('|', s.kind, coalesce(s.sender, '-'), coalesce(s.recipient, '-'), coalesce(s.referral_kind, '-'),
    coalesce(s.state, '-'), coalesce(s.rule, '-'))
    = concat_ws('|', e.kind, coalesce(e.sender, '-'), coalesce(e.recipient, '-'), coalesce(e.referral_kind, '-'),
    coalesce(e.state, '-'), coalesce(e.rule, '-'));
CREATE INDEX ON shape_events (shape);
ANALYZE shapes; ANALYZE shape_events;
"""
# A referral's number gives its ids and its shape; md5 is no secret here, only a way to get ids of the right form.
_NUMBERED = """
(SELECT n, md5('m' || n)::uuid AS message_id, 'ref-' || lpad(n::text, 10, '0') AS referral_id, abs(hashint4(n)) % {shapes} AS shape,
  $3::timestamptz + n * $4::interval AS at FROM generate_series($1::int, $2::int - 1) AS n)
"""
_FILLS: Final = {
    "messages": """
INSERT INTO messages (message_id, sender, referral_id, revision, kind, conversation, body_sha256, manifest_digest, issued_at, expires_at, received_at,
  directory_version, event_id, notice, body)
SELECT r.message_id, s.sender, r.referral_id, 1, s.kind, 'conv-' || r.n, sha256(r.n::text::bytea), encode(sha256(r.n::text::bytea), 'hex'), r.at,
  r.at + interval '14 days', r.at, 1, md5('e' || r.n * 8)::uuid, '{}', '' FROM {numbered} r JOIN shapes s USING (shape)
""",
    "message_subjects": """
INSERT INTO message_subjects (message_id, tokens) SELECT r.message_id, ARRAY['nhs|p1|' || lpad((abs(hashint4(r.n + 7)) % 300000)::text, 6, '0')]
FROM {numbered} r WHERE $4::interval IS NOT NULL
""",
    "deliveries": """
INSERT INTO deliveries (message_id, delivery_id, number, recipient, role, purpose, outcome, "row", reason, decision, released, rest_salt, event_id,
  decided_at, state)
SELECT r.message_id, 'delivery-' || r.n || '-' || d.number, d.number, d.recipient, 'csc', 'safeguard_child', d.outcome, d.rule, 'The row applies.',
  jsonb_build_object('outcome', d.outcome, 'row', d.rule, 'reason', 'The row applies.', 'compartments', jsonb_build_object(
    'C01', jsonb_build_object('result', CASE d.outcome WHEN 'delivered' THEN 'full' ELSE d.outcome END, 'row', d.rule, 'reason', 'The matrix permits it.'),
    'C10', jsonb_build_object('result', 'withheld', 'row', 'D12', 'reason', 'A source in confidence stays with the sender.'))),
  CASE d.outcome WHEN 'delivered' THEN ARRAY['section-00000000000001'] ELSE '{{}}' END, '\\x00', md5('e' || r.n * 8 + 1 + d.number)::uuid, r.at,
  CASE d.outcome WHEN 'delivered' THEN 'actioned' ELSE d.outcome END
FROM {numbered} r JOIN shapes s USING (shape)
CROSS JOIN LATERAL (VALUES (0, s.first, s.first_outcome, s.first_rule), (1, s.second, s.second_outcome, s.second_rule)) d (number, recipient, outcome, rule)
""",
    "receipts": """
INSERT INTO receipts (receipt_digest, message_id, delivery_id, state, previous, at, received_at, event_id, notice, body, decision_leaf)
SELECT md5('r' || r.n || t.state), r.message_id, 'delivery-' || r.n || '-0', t.state, md5('r' || r.n || t.before), r.at + t.later, r.at + t.later,
  md5('e' || r.n * 8 + t.slot)::uuid, '{}', '', ''
FROM {numbered} r JOIN shapes s USING (shape) CROSS JOIN (VALUES ('accepted', NULL, interval '1 minute', 3), ('opened', 'accepted', interval '20 minutes', 4),
  ('actioned', 'opened', interval '5 hours', 5)) t (state, before, later, slot)
""",
    "holds": """
INSERT INTO holds (message_id, delivery_id, owner, "row", reason, created_at, deadline_at, state, decided_by, decided_at)
SELECT r.message_id, 'delivery-' || r.n || '-1', s.sender, 'D12', 'A source in confidence needs an approver.', r.at, r.at + interval '1 day',
  CASE WHEN r.n % 5000 = 0 THEN 'open' ELSE 'refused' END, s.person, r.at + interval '3 hours'
FROM {numbered} r JOIN shapes s USING (shape) WHERE s.second_outcome = 'held'
""",
    "clocks": """
INSERT INTO clocks (clock_id, message_id, clock, recipient, starts_at, due_at, state, changed_at, breached_at, met_at)
SELECT md5('c' || r.n)::uuid, r.message_id, 'la_acknowledgement', s.first, r.at, r.at + interval '24 hours',
  CASE WHEN r.n % 4000 = 0 THEN 'running' WHEN s.met THEN 'met' ELSE 'breached' END, r.at, CASE WHEN s.met THEN NULL ELSE r.at + interval '24 hours' END,
  CASE WHEN s.met OR r.n % 50 > 0 THEN r.at + interval '30 hours' END
FROM {numbered} r JOIN shapes s USING (shape)
""",
    "log_entries": """
INSERT INTO log_entries (position, event_id, kind, at, entry, leaf_hash)
SELECT r.n::bigint * 8 + e.slot, md5('e' || r.n * 8 + e.slot)::uuid, e.kind, r.at + e.slot * $4::interval / 8,
  ('{{"commitment":"' || md5('x' || r.n) || '"}}')::bytea, sha256((r.n * 8 + e.slot)::text::bytea) FROM {numbered} r JOIN shape_events e USING (shape)
""",
    "audit_events": """
INSERT INTO audit_events (position, at, stream, message_id, delivery_id, referral_id, person, subject)
SELECT r.n::bigint * 8 + e.slot, r.at + e.slot * $4::interval / 8, e.stream, r.message_id, 'delivery-' || r.n || '-' || e.delivery, r.referral_id,
  CASE WHEN e.kind IN ('review', 'audit_read', 'export') THEN s.person END, CASE WHEN e.kind IN ('audit_read', 'export') THEN r.referral_id END
FROM {numbered} r JOIN shapes s USING (shape) JOIN shape_events e USING (shape)
""",
    "audit_deliveries": """
INSERT INTO audit_deliveries (delivery_id, message_id, position)
SELECT 'delivery-' || r.n || '-' || d.number, r.message_id, r.n::bigint * 8 + 1 + d.number
FROM {numbered} r CROSS JOIN (VALUES (0), (1)) d (number) WHERE $4::interval IS NOT NULL
""",
}  # fmt: skip
_EXTRAS = """
INSERT INTO signed_objects (object_digest, notice, type, sender, received_at, event_id, body)
  SELECT 'consent-' || n, '{}', 'consent', 'csc.marchshire', $1::timestamptz - n * interval '1 hour', md5('o' || n)::uuid, ''
  FROM generate_series(1, $2::int) n
"""
_CONSENTS = """
INSERT INTO consents (object_digest, consent_id, recorded_by, state, record, tokens, received_at)
  SELECT 'consent-' || n, 'consent-' || n, CASE n % 2 WHEN 0 THEN 'csc.marchshire' ELSE 'police.marchshire' END,
    CASE n % 5 WHEN 0 THEN 'withdrawn' ELSE 'given' END, '{"state": "given"}', '{}', $1::timestamptz - n * interval '1 hour'
  FROM generate_series(1, $2::int) n
"""
_QUARANTINE = """
INSERT INTO quarantine (quarantine_id, user_id, claimed_id, type, queue, body_sha256, body, code, detail, first_at, last_at, event_id, state)
  SELECT md5('q' || n)::uuid, 'police.marchshire', 'm-' || n, 'referral', 'q', sha256(n::text::bytea), '', 'malformed', 'broke a rule',
    $1::timestamptz - n * interval '1 hour', $1::timestamptz - n * interval '1 hour', md5('q' || n)::uuid, CASE n % 100 WHEN 0 THEN 'open' ELSE 'rejected' END
  FROM generate_series(1, $2::int) n
"""
_COSIGNED = """
INSERT INTO log_cosignatures (size, witness, line, at, received_at)
  SELECT c.size, w, 'line', c.at, c.at FROM log_checkpoints c CROSS JOIN unnest(ARRAY['csc.marchshire', 'police.marchshire']) w
"""
_REBUILT: Final = (
    "audit_events_by_time",
    "audit_events_by_stream",
    "audit_events_by_referral",
    "audit_events_by_person",
)


async def fill_audit(owner: asyncpg.Connection, plan: AuditPlan, on_step: OnStep = print) -> None:
    """Fill an empty, migrated database; ``owner`` is its superuser."""
    await owner.execute(
        "SET session_replication_role = replica; SET statement_timeout = 0; SET maintenance_work_mem = '512MB'; SET synchronous_commit = off"
    )
    definitions = [await owner.fetchval("SELECT pg_get_indexdef($1::regclass)", name) for name in _REBUILT]
    await owner.execute("".join(f"DROP INDEX {name};" for name in _REBUILT))
    await _make_shapes(owner)
    apart = plan.span / plan.referrals
    start = plan.ends_at - plan.span
    numbered = _NUMBERED.format(shapes=_SHAPES)
    for table, query in _FILLS.items():
        on_step(f"filling {table}")
        sql = query.replace("{numbered}", numbered).replace("{{", "{").replace("}}", "}")
        for first in range(0, plan.referrals, _CHUNK):
            await owner.execute(sql, first, min(first + _CHUNK, plan.referrals), start, apart, timeout=1800)
    await _fill_rest(owner, plan)
    for definition in definitions:
        on_step(f"making {definition.split()[2]}")
        await owner.execute(definition, timeout=1800)
    on_step("counting and analysing")
    await owner.execute(
        "UPDATE audit_streams s SET events = c.events FROM (SELECT stream, count(*) AS events FROM audit_events GROUP BY stream) c"
        " WHERE c.stream = s.stream",
        timeout=1800,
    )
    await owner.execute("SET session_replication_role = origin")
    await owner.execute("VACUUM ANALYZE", timeout=1800)


async def _make_shapes(owner: asyncpg.Connection) -> None:
    """Draw what referrals look like, as often as they do, and the events that each has."""
    draw = random.Random(11)  # noqa: S311 (made-up data)
    await owner.execute(_SHAPE_TABLES)
    shapes: list[tuple[Any, ...]] = []
    events: list[tuple[Any, ...]] = []
    for shape in range(_SHAPES):
        sender = draw.choices(SENDERS, SENDER_WEIGHTS)[0]
        kind = draw.choices(KINDS, KIND_WEIGHTS)[0]
        first, second = draw.choice(RECEIVERS), draw.choice(SCHOOLS)
        rules = [draw.choices(ROWS, ROW_WEIGHTS)[0] for _ in range(2)]
        outcomes = [_OUTCOMES.get(rule, "delivered") for rule in rules]
        met, looked = draw.random() < 0.9, draw.random() < 0.7
        person = f"p.person{draw.randrange(_PEOPLE):02d}"
        shapes.append(
            (shape, sender, kind, first, second, outcomes[0], rules[0], outcomes[1], rules[1], met, person, looked)
        )
        last = (
            ("audit_read", sender, None, kind, "show", None)
            if looked
            else ("review", sender, second, kind, "refused", None)
        )
        slots = [
            ("accepted", sender, None, kind, None, None),
            ("decided", sender, first, kind, outcomes[0], rules[0]),
            ("decided", sender, second, kind, outcomes[1], rules[1]),
            ("receipt", sender, first, kind, "accepted", None),
            ("receipt", sender, first, kind, "opened", None),
            ("receipt", sender, first, kind, "actioned", None),
            ("clock", sender, None, kind, "met" if met else "breached", None),
            last,
        ]
        events += [(shape, slot, *members, 1 if slot == 2 else 0) for slot, members in enumerate(slots)]
    await owner.copy_records_to_table("shapes", records=shapes)
    columns = ("shape", "slot", "kind", "sender", "recipient", "referral_kind", "state", "rule", "delivery")
    await owner.copy_records_to_table("shape_events", columns=columns, records=events)
    await owner.execute(_STREAMS)


async def _fill_rest(owner: asyncpg.Connection, plan: AuditPlan) -> None:
    """Add registers, checkpoints (one in 64 events) and where the projector is; the log can be appended to from here."""
    few = max(6000, plan.referrals // 100)
    for query in (_EXTRAS, _CONSENTS, _QUARANTINE):
        await owner.execute(query, plan.ends_at, few, timeout=600)
    await owner.execute(
        "INSERT INTO log_checkpoints (size, epoch, root, edge, note, at) SELECT n * 64, 1, sha256(n::text::bytea), '', 'not signed',"
        " $1::timestamptz + n * 64 * $2::interval / 8 FROM generate_series(1, $3::int) n",
        plan.ends_at - plan.span,
        plan.span / plan.referrals,
        (plan.events - 1) // 64,
        timeout=600,
    )
    edge = RightEdge(plan.events, tuple(token_bytes(HASH_BYTES) for _ in range(plan.events.bit_count())))
    await owner.execute(
        "INSERT INTO log_checkpoints (size, epoch, root, edge, note, at) VALUES ($1, 1, $2, $3, 'not signed', $4)",
        plan.events,
        edge.root(),
        b"".join(edge.hashes),
        plan.ends_at,
    )
    await owner.execute(_COSIGNED, timeout=600)
    await owner.execute(
        "INSERT INTO projection_cursors (name, position, at) VALUES ('audit_events', $1, $2)", plan.events, plan.ends_at
    )


def plan_audit(events: int) -> AuditPlan:
    """Return a plan of about ``events`` events that ends now."""
    return AuditPlan(max(1, events // EVENTS_A_REFERRAL), datetime.now(UTC))
