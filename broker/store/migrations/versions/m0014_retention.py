"""Retention: what may be erased, by whom, and what stops it.

A role of its own erases, through functions that can only take away, never write: not even it can put other bytes in a payload's place. The functions
themselves pass over whatever is under a legal hold or still under way, so that no program can forget to. Erasing leaves every commitment in the log,
so every proof stays good; ``erasures`` names the event that says so.
"""

from alembic import op

revision = "0014_retention"
down_revision = "0013_reports"

ROLE = """
DO $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'safelane_eraser') THEN
    CREATE ROLE safelane_eraser LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
  END IF;
END $$
"""

TABLES = """
ALTER TABLE log_payloads ALTER COLUMN event DROP NOT NULL;
ALTER TABLE log_payloads ADD COLUMN message_id uuid;
UPDATE log_payloads SET message_id = (convert_from(event, 'UTF8')::jsonb ->> 'message_id')::uuid
  WHERE convert_from(event, 'UTF8') ~ '"message_id":"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"';
CREATE INDEX log_payloads_emptied ON log_payloads (event_id) WHERE event IS NULL;
CREATE INDEX log_payloads_by_message ON log_payloads (message_id) WHERE message_id IS NOT NULL;

ALTER TABLE messages ALTER COLUMN body DROP NOT NULL, ALTER COLUMN notice DROP NOT NULL, ADD COLUMN manifest bytea;
ALTER TABLE addenda ALTER COLUMN body DROP NOT NULL;
ALTER TABLE receipts ALTER COLUMN body DROP NOT NULL, ALTER COLUMN notice DROP NOT NULL;
ALTER TABLE signed_objects ALTER COLUMN body DROP NOT NULL, ALTER COLUMN notice DROP NOT NULL;
ALTER TABLE quarantine ALTER COLUMN body DROP NOT NULL;
CREATE INDEX messages_with_body ON messages (received_at) WHERE body IS NOT NULL;
CREATE INDEX quarantine_with_body ON quarantine (decided_at) WHERE body IS NOT NULL AND state IN ('replayed', 'rejected');

CREATE TABLE legal_holds (
  hold_id uuid PRIMARY KEY,
  scope text NOT NULL CHECK (scope IN ('referral', 'subject')),
  subject text NOT NULL,
  reason_code text NOT NULL,
  placed_by text NOT NULL,
  placed_at timestamptz NOT NULL,
  event_id uuid NOT NULL,
  lifted_at timestamptz,
  lifted_event uuid,
  CHECK ((lifted_at IS NULL) = (lifted_event IS NULL))
);
CREATE INDEX legal_holds_in_force ON legal_holds (scope, subject) WHERE lifted_at IS NULL;

CREATE TABLE erasures (
  subject_id uuid NOT NULL,
  scope text NOT NULL CHECK (scope IN ('ciphertext', 'everything', 'quarantine')),
  erased_at timestamptz NOT NULL,
  event_id uuid PRIMARY KEY
);
CREATE INDEX erasures_by_subject ON erasures (subject_id);
"""

# A hold on a referral holds its whole conversation: the updates, corrections and answers that belong to it.
QUESTIONS = """
CREATE FUNCTION is_held(wanted uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT 1 FROM legal_holds h JOIN messages named ON named.referral_id = h.subject
      JOIN messages m ON m.conversation = named.conversation
      WHERE h.scope = 'referral' AND h.lifted_at IS NULL AND m.message_id = wanted)
    OR EXISTS (SELECT 1 FROM message_subjects s CROSS JOIN unnest(s.tokens) AS token (name)
      JOIN legal_holds h ON h.scope = 'subject' AND h.subject = token.name AND h.lifted_at IS NULL WHERE s.message_id = wanted)
$$;
CREATE FUNCTION is_under_way(wanted uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT 1 FROM outbox WHERE message_id = wanted)
    OR EXISTS (SELECT 1 FROM deliveries WHERE message_id = wanted AND state = 'open')
    OR EXISTS (SELECT 1 FROM holds WHERE message_id = wanted AND state = 'open')
    OR EXISTS (SELECT 1 FROM redecide_due WHERE message_id = wanted)
    OR EXISTS (SELECT 1 FROM retrospective_reviews WHERE message_id = wanted AND state = 'open')
$$;
"""

# Sealed bytes go; the signed manifest (salted digests, no content) stays, so that what was signed can still be shown.
ERASING = """
CREATE FUNCTION erase_ciphertext(wanted uuid[]) RETURNS SETOF uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  chosen uuid[];
BEGIN
  SELECT array_agg(message_id) INTO chosen FROM (SELECT message_id FROM messages
    WHERE message_id = ANY(wanted) AND body IS NOT NULL AND NOT is_held(message_id) AND NOT is_under_way(message_id)
    ORDER BY message_id FOR NO KEY UPDATE SKIP LOCKED) found;
  UPDATE messages SET manifest = convert_to((convert_from(body, 'UTF8')::jsonb -> 'manifest')::text, 'UTF8'), body = NULL
    WHERE message_id = ANY(chosen);
  UPDATE signed_objects SET body = NULL WHERE object_digest IN (SELECT object_digest FROM addenda WHERE message_id = ANY(chosen));
  UPDATE addenda SET body = NULL WHERE message_id = ANY(chosen);
  RETURN QUERY SELECT unnest(chosen);
END $$;

CREATE FUNCTION erase_quarantined(wanted uuid[]) RETURNS SETOF uuid
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE quarantine SET body = NULL WHERE quarantine_id = ANY(wanted) AND body IS NOT NULL AND state IN ('replayed', 'rejected')
    RETURNING quarantine_id
$$;

CREATE FUNCTION erase_everything(wanted uuid[]) RETURNS TABLE (erased uuid, "position" bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  chosen uuid[];
BEGIN
  SELECT array_agg(message_id) INTO chosen FROM (SELECT message_id FROM messages
    WHERE message_id = ANY(wanted) AND NOT is_held(message_id) AND NOT is_under_way(message_id)
    ORDER BY message_id FOR NO KEY UPDATE) found;
  UPDATE messages SET body = NULL, manifest = NULL, notice = NULL, native_ref_digest = NULL WHERE message_id = ANY(chosen);
  UPDATE signed_objects SET body = NULL, notice = NULL WHERE message_id = ANY(chosen)
    OR object_digest IN (SELECT object_digest FROM addenda WHERE message_id = ANY(chosen));
  UPDATE addenda SET body = NULL WHERE message_id = ANY(chosen);
  UPDATE receipts SET body = NULL, notice = NULL WHERE message_id = ANY(chosen);
  UPDATE deliveries SET decision = '{}', reason = '' WHERE message_id = ANY(chosen);
  UPDATE redecisions SET decision = '{}', reason = '' WHERE message_id = ANY(chosen);
  DELETE FROM message_subjects WHERE message_id = ANY(chosen);
  RETURN QUERY WITH gone AS (UPDATE log_payloads p SET event = NULL, salt = NULL FROM log_entries e
      WHERE e.event_id = p.event_id AND p.message_id = ANY(chosen) AND p.salt IS NOT NULL AND e.kind NOT IN ('erased', 'legal_hold')
      RETURNING p.message_id, e.position)
    SELECT c, g.position FROM unnest(chosen) AS c LEFT JOIN gone g ON g.message_id = c;
END $$;
"""

# Time runs from the last of: taken in, receipt of a recipient, a later decision.
LOOKING = """
CREATE FUNCTION list_retained(before timestamptz) RETURNS TABLE (message_id uuid, since timestamptz, held boolean, under_way boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT m.message_id, m.received_at, is_held(m.message_id), is_under_way(m.message_id) FROM messages m
    WHERE m.body IS NOT NULL AND m.received_at <= before
      AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.message_id = m.message_id AND r.state = 'accepted' AND r.received_at > before)
      AND NOT EXISTS (SELECT 1 FROM redecisions d WHERE d.message_id = m.message_id AND d.decided_at > before)
    ORDER BY m.received_at
$$;
CREATE FUNCTION list_quarantine_retained(before timestamptz) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT quarantine_id FROM quarantine WHERE body IS NOT NULL AND state IN ('replayed', 'rejected') AND decided_at <= before
    ORDER BY decided_at
$$;
CREATE FUNCTION list_matter(referral text) RETURNS TABLE (message_id uuid, held boolean, under_way boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT m.message_id, is_held(m.message_id), is_under_way(m.message_id) FROM messages m WHERE m.referral_id = referral
    ORDER BY m.received_at, m.message_id
$$;
REVOKE ALL ON FUNCTION erase_ciphertext, erase_quarantined, erase_everything, list_retained, list_quarantine_retained, list_matter
  FROM PUBLIC;
"""

# What the audit's search derived from a payload goes with it, whether the payload's row goes or is emptied.
FORGETTING = """
CREATE TRIGGER forget_emptied_audit_events AFTER UPDATE ON log_payloads
  REFERENCING OLD TABLE AS erased FOR EACH STATEMENT EXECUTE FUNCTION forget_audit_events();
"""

GRANTS = """
GRANT USAGE ON SCHEMA public TO safelane_eraser;
GRANT EXECUTE ON FUNCTION erase_ciphertext, erase_quarantined, erase_everything, list_retained, list_quarantine_retained, list_matter
  TO safelane_eraser;
GRANT SELECT, INSERT ON log_entries, log_payloads, log_checkpoints, log_tiles, erasures TO safelane_eraser;
GRANT SELECT ON legal_holds TO safelane_eraser;
GRANT SELECT ON erasures, legal_holds TO safelane_worker, safelane_api, safelane_reader, safelane_console;
GRANT INSERT, UPDATE (lifted_at, lifted_event) ON legal_holds TO safelane_api;
GRANT SELECT (manifest) ON messages TO safelane_worker;
"""


def upgrade() -> None:
    """Make the role, the tables and the functions, and grant least privilege."""
    for script in (ROLE, TABLES, QUESTIONS, ERASING, LOOKING, FORGETTING, GRANTS):
        op.execute(script)
