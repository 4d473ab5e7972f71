"""The console's people, their second factors, sessions and failed attempts.

The console reads what pages show and adds to the log. It has no right to a message's body, and none to change a decision by itself.
"""

from alembic import op

revision = "0009_console"
down_revision = "0008_policies"

PEOPLE = """
CREATE TABLE console_users (
  user_id uuid PRIMARY KEY,
  name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9._@-]{1,62}[a-z0-9]$'),
  display_name text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 80),
  agency text,
  person_id text,
  state text NOT NULL DEFAULT 'invited' CHECK (state IN ('invited', 'active', 'disabled')),
  expires_at timestamptz,
  password_hash text,
  code_secret bytea,
  code_step bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL,
  changed_at timestamptz NOT NULL
);
CREATE TABLE console_user_roles (
  user_id uuid NOT NULL REFERENCES console_users,
  role text NOT NULL CHECK (role IN ('auditor', 'ig_officer', 'operator', 'inspector')),
  PRIMARY KEY (user_id, role)
);
CREATE TABLE console_passkeys (
  credential_id bytea PRIMARY KEY,
  user_id uuid NOT NULL REFERENCES console_users,
  public_key bytea NOT NULL,
  sign_count bigint NOT NULL,
  label text NOT NULL CHECK (length(label) BETWEEN 1 AND 60),
  created_at timestamptz NOT NULL,
  used_at timestamptz
);
CREATE INDEX console_passkeys_by_user ON console_passkeys (user_id);
CREATE TABLE console_identities (
  issuer text NOT NULL,
  subject text NOT NULL,
  user_id uuid NOT NULL REFERENCES console_users,
  linked_at timestamptz NOT NULL,
  PRIMARY KEY (issuer, subject)
);
CREATE INDEX console_identities_by_user ON console_identities (user_id);
CREATE TABLE console_links (
  secret_sha256 bytea PRIMARY KEY CHECK (octet_length(secret_sha256) = 32),
  user_id uuid NOT NULL REFERENCES console_users,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at timestamptz
);
CREATE INDEX console_links_by_user ON console_links (user_id);
"""

SESSIONS = """
CREATE TABLE console_sessions (
  secret_sha256 bytea PRIMARY KEY CHECK (octet_length(secret_sha256) = 32),
  session_id uuid NOT NULL UNIQUE,
  user_id uuid NOT NULL REFERENCES console_users,
  method text NOT NULL,
  browser text NOT NULL,
  created_at timestamptz NOT NULL,
  seen_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  confirmed_at timestamptz NOT NULL,
  ended_at timestamptz,
  notice text
);
CREATE INDEX console_sessions_by_user ON console_sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX console_sessions_by_end ON console_sessions (expires_at);
CREATE TABLE console_attempts (
  key text PRIMARY KEY,
  failures integer NOT NULL,
  last_at timestamptz NOT NULL
);
CREATE INDEX console_attempts_by_time ON console_attempts (last_at);
CREATE TABLE console_used_visits (
  visit_sha256 bytea PRIMARY KEY CHECK (octet_length(visit_sha256) = 32),
  used_at timestamptz NOT NULL
);
CREATE INDEX console_used_visits_by_time ON console_used_visits (used_at);
"""

# What is read for pages; a message's body and notice are not among it. Nobody's account is ever deleted: its events name it.
GRANTS = """
GRANT SELECT, INSERT ON log_entries, log_payloads, log_checkpoints, log_tiles TO safelane_console;
GRANT SELECT (message_id, sender, referral_id, revision, kind, conversation, supersedes, reseals, native_ref_digest, repeat_of,
  body_sha256, manifest_digest, outcome, issued_at, expires_at, received_at, directory_version, event_id) ON messages TO safelane_console;
GRANT SELECT (message_id, delivery_id, number, recipient, role, purpose, contact, outcome, "row", reason, decision, released, keyring_kid,
  event_id, decided_at, state, last_receipt) ON deliveries TO safelane_console;
GRANT SELECT (receipt_digest, message_id, delivery_id, state, reason_code, previous, at, received_at, event_id, decision_leaf) ON receipts
  TO safelane_console;
GRANT SELECT (object_digest, type, sender, message_id, received_at, event_id) ON signed_objects TO safelane_console;
GRANT SELECT (quarantine_id, user_id, claimed_id, type, queue, body_sha256, code, detail, field, security, seen, first_at, last_at, event_id,
  state, decided_by, decided_at, decision_reason) ON quarantine TO safelane_console;
GRANT SELECT (outbox_id, kind, recipient, message_id, delivery_id, event_id, attempts, offers, due_at, created_at) ON outbox TO safelane_console;
GRANT SELECT ON holds, retrospective_reviews, clocks, recalls, deletions, requests, approvals, consents, message_subjects, break_glass_claims,
  used_tokens, tickets, redecisions, redecide_due, register_change, registry_change, directory_versions, key_announcements, agency_queues,
  log_proposals, log_cosignatures, policy_packs, policy_activations TO safelane_console;
GRANT SELECT (object_digest, message_id, delivery_id, sections, kid, received_at) ON addenda TO safelane_console;
GRANT SELECT, INSERT, UPDATE ON console_users, console_passkeys, console_links, console_sessions, console_attempts TO safelane_console;
GRANT SELECT, INSERT, DELETE ON console_user_roles, console_identities, console_used_visits TO safelane_console;
GRANT DELETE ON console_passkeys, console_links, console_sessions, console_attempts TO safelane_console;
"""


def upgrade() -> None:
    """Make the tables and the role, and grant least privilege."""
    for script in (PEOPLE, SESSIONS, GRANTS):
        op.execute(script)
