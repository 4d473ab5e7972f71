"""What the log says, in tables that can be searched: made by the projector (``broker.audit``), and made again from the log at any time.

A *stream* is one combination of what people filter by: kind of event, agencies, kind of referral, state and rule. There are a few thousand of them,
so a search under any combination of filters is a lookup of streams and one short read of ``audit_events_by_stream`` for each.
"""

from alembic import op

revision = "0007_audit"
down_revision = "0006_used_tokens"

CONSOLE_ROLE = """
DO $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'safelane_console') THEN
    CREATE ROLE safelane_console LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
  END IF;
END $$
"""

TABLES = """
CREATE TABLE projection_cursors (
  name text PRIMARY KEY,
  position bigint NOT NULL CHECK (position >= 0),
  at timestamptz NOT NULL
);

CREATE TABLE audit_streams (
  stream integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL,
  sender text,
  recipient text,
  referral_kind text,
  state text,
  rule text,
  events bigint NOT NULL DEFAULT 0,
  UNIQUE NULLS NOT DISTINCT (kind, sender, recipient, referral_kind, state, rule)
) WITH (fillfactor = 70);
CREATE INDEX audit_streams_by_sender ON audit_streams (sender);
CREATE INDEX audit_streams_by_recipient ON audit_streams (recipient);
CREATE INDEX audit_streams_by_rule ON audit_streams (rule);

CREATE TABLE audit_events (
  position bigint PRIMARY KEY,
  at timestamptz NOT NULL,
  stream integer NOT NULL,
  message_id uuid,
  delivery_id text,
  referral_id text,
  person text,
  subject text
);
CREATE INDEX audit_events_by_time ON audit_events (at, position);
CREATE INDEX audit_events_by_stream ON audit_events (stream, at, position);
CREATE INDEX audit_events_by_referral ON audit_events (referral_id, at, position) WHERE referral_id IS NOT NULL;
CREATE INDEX audit_events_by_person ON audit_events (person, at, position) WHERE person IS NOT NULL;

CREATE TABLE audit_deliveries (
  delivery_id text NOT NULL,
  message_id uuid NOT NULL,
  position bigint NOT NULL,
  PRIMARY KEY (delivery_id, message_id)
);
"""

# Whoever erases a payload erases what was derived from it, in the same transaction. The lock is the projector's own: a batch that has read the
# payload commits first, and is then seen here.
FORGETTING = """
CREATE FUNCTION forget_audit_events() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  gone record;
  emptied integer;
BEGIN
  PERFORM pg_advisory_xact_lock(1526636753);
  FOR gone IN
    SELECT a.position, a.stream, s.kind FROM erased p JOIN log_entries l USING (event_id) JOIN audit_events a USING (position)
    JOIN audit_streams s USING (stream)
  LOOP
    INSERT INTO audit_streams (kind) VALUES (gone.kind) ON CONFLICT DO NOTHING;
    SELECT stream INTO emptied FROM audit_streams
      WHERE kind = gone.kind AND sender IS NULL AND recipient IS NULL AND referral_kind IS NULL AND state IS NULL AND rule IS NULL;
    UPDATE audit_streams SET events = events - 1 WHERE stream = gone.stream;
    UPDATE audit_streams SET events = events + 1 WHERE stream = emptied;
    UPDATE audit_events SET stream = emptied, message_id = NULL, delivery_id = NULL, referral_id = NULL, person = NULL, subject = NULL
      WHERE position = gone.position;
    DELETE FROM audit_deliveries WHERE position = gone.position;
  END LOOP;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION forget_audit_events() FROM PUBLIC;
CREATE INDEX audit_deliveries_by_position ON audit_deliveries (position);
CREATE TRIGGER forget_audit_events AFTER DELETE ON log_payloads
  REFERENCING OLD TABLE AS erased FOR EACH STATEMENT EXECUTE FUNCTION forget_audit_events();
"""

GRANTS = """
GRANT USAGE ON SCHEMA public TO safelane_console;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON projection_cursors, audit_streams, audit_events, audit_deliveries TO safelane_api;
GRANT SELECT ON projection_cursors, audit_streams, audit_events, audit_deliveries TO safelane_reader, safelane_console;
"""


def upgrade() -> None:
    """Make the tables and grant least privilege: the API's role writes, as it runs the projector; the others read."""
    for script in (CONSOLE_ROLE, TABLES, FORGETTING, GRANTS):
        op.execute(script)
