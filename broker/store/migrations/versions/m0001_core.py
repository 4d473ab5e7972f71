"""Messages, deliveries, outbox, receipts, holds, quarantine and the message log, with the roles that may touch them.

The worker's role can add to the log and read it, and nothing else: history cannot be rewritten with what a worker knows (DESIGN, PostgreSQL).
"""

from alembic import op

revision = "0001_core"
down_revision = None

ROLES = """
DO $$
DECLARE
  role_name text;
BEGIN
  FOREACH role_name IN ARRAY ARRAY['safelane_worker', 'safelane_api', 'safelane_reader'] LOOP
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role_name) THEN
      EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', role_name);
    END IF;
  END LOOP;
END $$
"""

LOG = """
CREATE TABLE log_entries (
  position bigint PRIMARY KEY CHECK (position >= 0),
  event_id uuid NOT NULL UNIQUE,
  kind text NOT NULL,
  at timestamptz NOT NULL,
  entry bytea NOT NULL,
  leaf_hash bytea NOT NULL CHECK (octet_length(leaf_hash) = 32)
);
CREATE TABLE log_payloads (
  event_id uuid PRIMARY KEY,
  event bytea NOT NULL,
  salt bytea CHECK (octet_length(salt) = 32)
);
CREATE TABLE log_checkpoints (
  size bigint PRIMARY KEY CHECK (size > 0),
  epoch integer NOT NULL,
  root bytea NOT NULL CHECK (octet_length(root) = 32),
  edge bytea NOT NULL CHECK (octet_length(edge) % 32 = 0),
  note text NOT NULL,
  at timestamptz NOT NULL
);
CREATE TABLE log_tiles (
  level smallint NOT NULL CHECK (level >= 0),
  number bigint NOT NULL CHECK (number >= 0),
  hashes bytea NOT NULL CHECK (octet_length(hashes) = 8192),
  PRIMARY KEY (level, number)
);
"""

MESSAGES = """
CREATE TABLE messages (
  message_id uuid PRIMARY KEY,
  sender text NOT NULL,
  referral_id text NOT NULL,
  revision integer NOT NULL CHECK (revision >= 1),
  kind text NOT NULL,
  conversation text NOT NULL,
  supersedes uuid,
  reseals uuid,
  native_ref_digest text,
  repeat_of uuid,
  body_sha256 bytea NOT NULL CHECK (octet_length(body_sha256) = 32),
  manifest_digest text NOT NULL,
  outcome text NOT NULL DEFAULT 'accepted',
  issued_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  received_at timestamptz NOT NULL,
  directory_version integer NOT NULL,
  event_id uuid NOT NULL,
  notice bytea NOT NULL,
  body bytea NOT NULL,
  UNIQUE (sender, referral_id, revision)
);
ALTER TABLE messages ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX messages_by_native_ref ON messages (sender, native_ref_digest) WHERE native_ref_digest IS NOT NULL;
CREATE INDEX messages_by_referral ON messages (referral_id);
CREATE INDEX messages_by_time ON messages (received_at);

CREATE TABLE deliveries (
  message_id uuid NOT NULL REFERENCES messages,
  delivery_id text NOT NULL,
  number smallint NOT NULL,
  recipient text NOT NULL,
  role text NOT NULL,
  purpose text NOT NULL,
  contact text,
  outcome text NOT NULL,
  "row" text NOT NULL,
  reason text NOT NULL,
  decision jsonb NOT NULL,
  released text[] NOT NULL,
  rest_salt bytea NOT NULL,
  keyring_kid text,
  event_id uuid NOT NULL,
  decided_at timestamptz NOT NULL,
  state text NOT NULL CHECK (state IN ('open', 'accepted', 'opened', 'actioned', 'refused', 'held', 'withheld', 'rejected', 'undeliverable')),
  last_receipt text,
  PRIMARY KEY (message_id, delivery_id)
);
CREATE INDEX deliveries_by_recipient ON deliveries (recipient, decided_at);

CREATE TABLE receipts (
  receipt_digest text PRIMARY KEY,
  message_id uuid NOT NULL,
  delivery_id text NOT NULL,
  state text NOT NULL,
  reason_code text,
  previous text,
  at timestamptz NOT NULL,
  received_at timestamptz NOT NULL,
  event_id uuid NOT NULL,
  notice bytea NOT NULL,
  body bytea NOT NULL,
  FOREIGN KEY (message_id, delivery_id) REFERENCES deliveries,
  UNIQUE NULLS NOT DISTINCT (message_id, delivery_id, previous)
);

CREATE TABLE signed_objects (
  object_digest text PRIMARY KEY,
  notice bytea NOT NULL,
  type text NOT NULL,
  sender text NOT NULL,
  message_id uuid,
  received_at timestamptz NOT NULL,
  event_id uuid NOT NULL,
  body bytea NOT NULL
);
"""

WORK = """
CREATE TABLE outbox (
  outbox_id uuid PRIMARY KEY,
  kind text NOT NULL,
  recipient text NOT NULL,
  message_id uuid,
  delivery_id text,
  event_id uuid NOT NULL,
  body bytea,
  attempts integer NOT NULL DEFAULT 0,
  offers integer NOT NULL DEFAULT 0,
  due_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL,
  CHECK (kind <> 'delivery' OR body IS NULL),
  CHECK (kind <> 'delivery' OR (message_id IS NOT NULL AND delivery_id IS NOT NULL))
);
CREATE INDEX outbox_due ON outbox (due_at);
CREATE INDEX outbox_by_message ON outbox (message_id, delivery_id);

CREATE TABLE holds (
  message_id uuid NOT NULL,
  delivery_id text NOT NULL,
  owner text NOT NULL,
  "row" text NOT NULL,
  reason text NOT NULL,
  created_at timestamptz NOT NULL,
  deadline_at timestamptz NOT NULL,
  state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'released', 'refused')),
  decided_by text,
  decided_at timestamptz,
  decision_reason text,
  PRIMARY KEY (message_id, delivery_id),
  FOREIGN KEY (message_id, delivery_id) REFERENCES deliveries
);
CREATE INDEX holds_open ON holds (deadline_at) WHERE state = 'open';

CREATE TABLE quarantine (
  quarantine_id uuid PRIMARY KEY,
  user_id text,
  claimed_id text NOT NULL,
  type text NOT NULL,
  queue text NOT NULL,
  body_sha256 bytea NOT NULL CHECK (octet_length(body_sha256) = 32),
  body bytea NOT NULL,
  code text NOT NULL,
  detail text NOT NULL,
  field text,
  security boolean NOT NULL DEFAULT false,
  seen integer NOT NULL DEFAULT 1,
  first_at timestamptz NOT NULL,
  last_at timestamptz NOT NULL,
  event_id uuid NOT NULL,
  state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'replaying', 'replayed', 'rejected')),
  decided_by text,
  decided_at timestamptz,
  decision_reason text,
  UNIQUE NULLS NOT DISTINCT (user_id, body_sha256)
);
ALTER TABLE quarantine ALTER COLUMN body SET STORAGE EXTERNAL;
"""

GRANTS = """
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO safelane_worker, safelane_api, safelane_reader;
GRANT SELECT, INSERT ON log_entries, log_payloads, log_checkpoints, log_tiles TO safelane_worker, safelane_api;
GRANT SELECT, INSERT ON messages, receipts, signed_objects TO safelane_worker;
GRANT SELECT, INSERT, UPDATE (state, last_receipt) ON deliveries TO safelane_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox TO safelane_worker;
GRANT SELECT, INSERT, UPDATE ON holds, quarantine TO safelane_worker;
GRANT SELECT ON deliveries, receipts, holds, outbox, quarantine TO safelane_api, safelane_reader;
GRANT SELECT ON log_entries, log_checkpoints, log_tiles TO safelane_reader;
GRANT SELECT (message_id, sender, referral_id, revision, kind, conversation, supersedes, reseals, native_ref_digest, repeat_of,
  body_sha256, manifest_digest, outcome, issued_at, expires_at, received_at, directory_version, event_id) ON messages TO safelane_api, safelane_reader;
"""


def upgrade() -> None:
    """Create everything; the owner of the tables is whoever runs this."""
    for script in (ROLES, LOG, MESSAGES, WORK, GRANTS):
        op.execute(script)
