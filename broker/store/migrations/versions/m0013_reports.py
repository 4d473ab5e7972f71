"""Facts and counts for inspection reports: filled by the projector from the log, read by the console, the API and the command line.

Facts hold codes and instants alone. The one table of pseudonyms (``report_subjects``) is apart: it forgets what is older than reports look back, and
what belongs to an erased payload, in the transaction that erases it; counts stay.
"""

from alembic import op

revision = "0013_reports"
down_revision = "0012_tile_roots"

FACTS = """
CREATE TABLE report_referrals (
  message_id uuid PRIMARY KEY,
  referral_id text NOT NULL,
  conversation text NOT NULL,
  sender text NOT NULL,
  kind text NOT NULL,
  accepted_at timestamptz NOT NULL,
  area text NOT NULL,
  event text NOT NULL,
  issued_at timestamptz,
  supersedes uuid,
  header_known boolean NOT NULL,
  grade text NOT NULL,
  tool text NOT NULL,
  assessed_at timestamptz,
  review_due_at timestamptz,
  incident_at timestamptz,
  art6 text NOT NULL,
  consent text NOT NULL,
  consent_reason text NOT NULL,
  tell text NOT NULL,
  tell_reason text NOT NULL,
  children boolean NOT NULL,
  persons boolean NOT NULL,
  heard boolean NOT NULL,
  flags text[] NOT NULL,
  routed text NOT NULL,
  rso_child text NOT NULL,
  repeat text NOT NULL,
  after_no_action text NOT NULL,
  reassessed text NOT NULL,
  embargo_set_at timestamptz,
  embargo_due_at timestamptz,
  embargo_lifted_at timestamptz,
  strategy_due_at timestamptz,
  outcome_at timestamptz,
  counted boolean NOT NULL
);
CREATE INDEX report_referrals_by_conversation ON report_referrals (conversation);
CREATE INDEX report_referrals_by_referral ON report_referrals (referral_id);
CREATE INDEX report_referrals_by_time ON report_referrals (accepted_at, message_id);
CREATE INDEX report_referrals_embargoed ON report_referrals (embargo_set_at) WHERE embargo_set_at IS NOT NULL AND embargo_lifted_at IS NULL;

CREATE TABLE report_deliveries (
  message_id uuid NOT NULL,
  delivery_id text NOT NULL,
  kind text NOT NULL,
  area text NOT NULL,
  sender text NOT NULL,
  accepted_at timestamptz NOT NULL,
  recipient text NOT NULL,
  role text NOT NULL,
  purpose text NOT NULL,
  first_outcome text NOT NULL,
  first_row text NOT NULL,
  outcome text NOT NULL,
  "row" text NOT NULL,
  policy_digest text NOT NULL,
  agreement text NOT NULL,
  detriment boolean NOT NULL,
  compartments text[] NOT NULL,
  alerts text[] NOT NULL,
  strategy_due_at timestamptz,
  released_at timestamptz,
  taken_at timestamptz,
  opened_at timestamptz,
  actioned_at timestamptz,
  refused_at timestamptz,
  refusal text NOT NULL,
  outcome_at timestamptz,
  hold text NOT NULL,
  held_at timestamptz,
  hold_ended_at timestamptz,
  glass text NOT NULL,
  glass_at timestamptz,
  glass_ended_at timestamptz,
  correction text NOT NULL,
  recall text NOT NULL,
  recalled_at timestamptz,
  deleted_at timestamptz,
  reached text NOT NULL,
  counted boolean NOT NULL,
  PRIMARY KEY (message_id, delivery_id)
);
CREATE INDEX report_deliveries_unopened ON report_deliveries (released_at)
  WHERE outcome = 'delivered' AND reached IN ('open', 'taken');

CREATE TABLE report_clocks (
  message_id uuid NOT NULL,
  clock text NOT NULL,
  recipient text NOT NULL,
  kind text NOT NULL,
  area text NOT NULL,
  accepted_at timestamptz NOT NULL,
  starts_at timestamptz NOT NULL,
  due_at timestamptz NOT NULL,
  state text NOT NULL,
  breached_at timestamptz,
  met_at timestamptz,
  counted boolean NOT NULL,
  PRIMARY KEY (message_id, clock, recipient)
);
CREATE INDEX report_clocks_by_due ON report_clocks (clock, due_at) INCLUDE (met_at);
CREATE INDEX report_clocks_breached ON report_clocks (due_at) WHERE state = 'breached';

CREATE TABLE report_subjects (
  token bytea NOT NULL,
  message_id uuid NOT NULL,
  event_id uuid NOT NULL,
  accepted_at timestamptz NOT NULL,
  is_new boolean NOT NULL,
  position bigint NOT NULL,
  PRIMARY KEY (token, message_id)
);
CREATE INDEX report_subjects_by_message ON report_subjects (message_id);
CREATE INDEX report_subjects_by_event ON report_subjects (event_id);
CREATE INDEX report_subjects_by_time ON report_subjects (accepted_at);
"""

CELLS = """
CREATE TABLE report_cells (
  measure text NOT NULL,
  span text NOT NULL CHECK (span IN ('day', 'month')),
  starts_on date NOT NULL,
  kind text NOT NULL,
  area text NOT NULL,
  agency text NOT NULL,
  code text NOT NULL,
  within text NOT NULL,
  bucket smallint NOT NULL,
  n bigint NOT NULL,
  PRIMARY KEY (measure, span, starts_on, kind, area, agency, code, within, bucket)
) WITH (fillfactor = 90);
"""

SAMPLES = """
CREATE TABLE audit_samples (
  sample_id text PRIMARY KEY,
  seed text NOT NULL,
  first_on date NOT NULL,
  last_on date NOT NULL,
  strata text[] NOT NULL,
  size integer NOT NULL CHECK (size > 0),
  created_by text NOT NULL,
  created_at timestamptz NOT NULL,
  drawn_at timestamptz,
  population integer
);
CREATE TABLE audit_sample_items (
  sample_id text NOT NULL REFERENCES audit_samples,
  number integer NOT NULL,
  message_id uuid NOT NULL,
  referral_id text NOT NULL,
  stratum text[] NOT NULL,
  PRIMARY KEY (sample_id, number)
);
CREATE TABLE audit_grades (
  sample_id text NOT NULL,
  number integer NOT NULL,
  auditor text NOT NULL,
  grade text NOT NULL,
  theme text NOT NULL,
  action text NOT NULL,
  reaudit_on date,
  graded_at timestamptz NOT NULL,
  PRIMARY KEY (sample_id, number, auditor),
  FOREIGN KEY (sample_id, number) REFERENCES audit_sample_items
);
"""

FORGETTING = """
CREATE FUNCTION forget_report_subjects() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  DELETE FROM report_subjects s USING erased e WHERE s.event_id = e.event_id;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION forget_report_subjects() FROM PUBLIC;
CREATE TRIGGER forget_report_subjects AFTER DELETE ON log_payloads
  REFERENCING OLD TABLE AS erased FOR EACH STATEMENT EXECUTE FUNCTION forget_report_subjects();
"""

# A notice says what a message's sender was told: codes. It names the clocks that began with the message.
GRANTS = """
GRANT SELECT (notice) ON messages TO safelane_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON report_referrals, report_deliveries, report_clocks, report_subjects, report_cells TO safelane_api;
GRANT SELECT ON report_referrals, report_deliveries, report_clocks, report_subjects, report_cells TO safelane_reader, safelane_console;
GRANT SELECT, INSERT ON audit_samples, audit_sample_items TO safelane_api, safelane_console;
GRANT UPDATE (drawn_at, population) ON audit_samples TO safelane_api, safelane_console;
GRANT SELECT, INSERT, UPDATE ON audit_grades TO safelane_api, safelane_console;
GRANT SELECT ON audit_samples, audit_sample_items, audit_grades TO safelane_reader;
"""


def upgrade() -> None:
    """Make the tables and grant least privilege: the API's role writes, as it runs the projector."""
    for script in (FACTS, CELLS, SAMPLES, FORGETTING, GRANTS):
        op.execute(script)
