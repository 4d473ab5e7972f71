"""The registers: approvals, consents, addenda, later decisions, reviews, clocks, recalls, requests, used tokens.

What was signed is only ever added. ``register_change`` moves with every entry that a decision may see, under the sequencer's lock, so that a batch
which was decided before it moved decides again.
"""

from alembic import op

revision = "0003_registers"
down_revision = "0002_registry"

REGISTERS = """
CREATE TABLE register_change (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  change bigint NOT NULL DEFAULT 0
);
INSERT INTO register_change DEFAULT VALUES;

CREATE TABLE approvals (
  object_digest text PRIMARY KEY REFERENCES signed_objects,
  approval_id text NOT NULL UNIQUE,
  action text NOT NULL,
  approver text NOT NULL,
  approver_agency text NOT NULL,
  approver_role text NOT NULL,
  requester text,
  message_id uuid REFERENCES messages,
  delivery_id text,
  recipient text,
  compartments text[] NOT NULL,
  sections text[] NOT NULL,
  scheme text,
  reason_code text NOT NULL,
  issued_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  single_use boolean NOT NULL,
  received_at timestamptz NOT NULL
);
CREATE INDEX approvals_by_message ON approvals (message_id);

CREATE TABLE consents (
  object_digest text PRIMARY KEY REFERENCES signed_objects,
  consent_id text NOT NULL,
  recorded_by text NOT NULL,
  state text NOT NULL,
  record jsonb NOT NULL,
  tokens text[] NOT NULL,
  previous text,
  received_at timestamptz NOT NULL,
  UNIQUE NULLS NOT DISTINCT (consent_id, previous)
);
CREATE INDEX consents_by_token ON consents USING gin (tokens);

CREATE TABLE message_subjects (
  message_id uuid PRIMARY KEY REFERENCES messages,
  tokens text[] NOT NULL
);
CREATE INDEX message_subjects_by_token ON message_subjects USING gin (tokens);

CREATE TABLE break_glass_claims (
  object_digest text PRIMARY KEY REFERENCES signed_objects,
  message_id uuid NOT NULL REFERENCES messages,
  agency text NOT NULL,
  person text NOT NULL,
  reason_code text NOT NULL,
  claimed_at timestamptz NOT NULL,
  received_at timestamptz NOT NULL
);
CREATE INDEX break_glass_claims_by_message ON break_glass_claims (message_id);

CREATE TABLE used_tokens (
  scheme text NOT NULL,
  ref text NOT NULL,
  conversation text NOT NULL,
  message_id uuid NOT NULL,
  used_at timestamptz NOT NULL,
  PRIMARY KEY (scheme, ref)
);
"""

LATER = """
CREATE TABLE addenda (
  object_digest text PRIMARY KEY REFERENCES signed_objects,
  message_id uuid NOT NULL,
  delivery_id text NOT NULL,
  sections text[] NOT NULL,
  kid text NOT NULL,
  body bytea NOT NULL,
  received_at timestamptz NOT NULL,
  FOREIGN KEY (message_id, delivery_id) REFERENCES deliveries
);
CREATE INDEX addenda_by_delivery ON addenda (message_id, delivery_id);

CREATE TABLE redecisions (
  event_id uuid PRIMARY KEY,
  message_id uuid NOT NULL,
  delivery_id text NOT NULL,
  number integer NOT NULL CHECK (number >= 1),
  cause text NOT NULL,
  outcome text NOT NULL,
  "row" text NOT NULL,
  reason text NOT NULL,
  decision jsonb NOT NULL,
  released text[] NOT NULL,
  rest_salt bytea NOT NULL,
  keyring_kid text,
  addendum text REFERENCES addenda,
  decided_at timestamptz NOT NULL,
  UNIQUE (message_id, delivery_id, number),
  FOREIGN KEY (message_id, delivery_id) REFERENCES deliveries
);

CREATE TABLE redecide_due (
  message_id uuid NOT NULL,
  delivery_id text NOT NULL,
  cause text NOT NULL,
  basis text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL,
  due_at timestamptz NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  PRIMARY KEY (message_id, delivery_id, cause, basis),
  FOREIGN KEY (message_id, delivery_id) REFERENCES deliveries
);
CREATE INDEX redecide_due_at ON redecide_due (due_at);

CREATE TABLE tickets (
  message_id uuid NOT NULL,
  delivery_id text NOT NULL,
  created_at timestamptz NOT NULL,
  collected_at timestamptz,
  collected_event uuid,
  PRIMARY KEY (message_id, delivery_id),
  FOREIGN KEY (message_id, delivery_id) REFERENCES deliveries
);

ALTER TABLE receipts ADD COLUMN decision_leaf text NOT NULL DEFAULT '';
ALTER TABLE receipts DROP CONSTRAINT receipts_message_id_delivery_id_previous_key;
ALTER TABLE receipts ADD CONSTRAINT receipts_chain UNIQUE NULLS NOT DISTINCT (message_id, delivery_id, decision_leaf, previous);
"""

REVIEWS = """
ALTER TABLE holds ADD COLUMN claimed_by text;
ALTER TABLE holds ADD COLUMN claimed_at timestamptz;
ALTER TABLE holds ADD COLUMN escalated_at timestamptz;
ALTER TABLE holds ADD COLUMN escalations integer NOT NULL DEFAULT 0;

CREATE TABLE retrospective_reviews (
  review_id uuid PRIMARY KEY,
  kind text NOT NULL,
  message_id uuid NOT NULL REFERENCES messages,
  delivery_id text,
  owner text NOT NULL,
  reason text NOT NULL,
  created_at timestamptz NOT NULL,
  deadline_at timestamptz NOT NULL,
  state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done')),
  claimed_by text,
  claimed_at timestamptz,
  decided_by text,
  decided_at timestamptz,
  escalated_at timestamptz,
  escalations integer NOT NULL DEFAULT 0,
  UNIQUE NULLS NOT DISTINCT (kind, message_id, delivery_id)
);

CREATE TABLE clocks (
  clock_id uuid PRIMARY KEY,
  message_id uuid NOT NULL REFERENCES messages,
  clock text NOT NULL,
  recipient text,
  starts_at timestamptz NOT NULL,
  due_at timestamptz NOT NULL,
  extendable_to timestamptz,
  state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'paused', 'met', 'breached')),
  changed_at timestamptz NOT NULL,
  paused_at timestamptz,
  breached_at timestamptz,
  met_at timestamptz,
  UNIQUE NULLS NOT DISTINCT (message_id, clock, recipient)
);
CREATE INDEX clocks_running ON clocks (due_at) WHERE state = 'running';

CREATE TABLE recalls (
  object_digest text PRIMARY KEY REFERENCES signed_objects,
  recall_id text NOT NULL UNIQUE,
  message_id uuid NOT NULL REFERENCES messages,
  deliveries text[] NOT NULL,
  reason_code text NOT NULL,
  delete_by timestamptz NOT NULL,
  received_at timestamptz NOT NULL
);
CREATE INDEX recalls_by_message ON recalls (message_id);
CREATE TABLE deletions (
  object_digest text PRIMARY KEY REFERENCES signed_objects,
  recall_id text NOT NULL REFERENCES recalls (recall_id),
  delivery_id text NOT NULL,
  agency text NOT NULL,
  deleted_at timestamptz NOT NULL,
  exceptions_code text,
  received_at timestamptz NOT NULL,
  UNIQUE (recall_id, delivery_id)
);

CREATE TABLE requests (
  object_digest text PRIMARY KEY REFERENCES signed_objects,
  request_id text NOT NULL,
  step text NOT NULL,
  requester text NOT NULL,
  recipient text NOT NULL,
  answer_due_at timestamptz NOT NULL,
  previous text,
  state text NOT NULL DEFAULT 'running',
  received_at timestamptz NOT NULL,
  UNIQUE NULLS NOT DISTINCT (request_id, previous)
);
"""

# What was signed is added, never changed. The API takes approvals and hands out what tickets claim; the worker does the rest.
GRANTS = """
GRANT SELECT, INSERT ON approvals, consents, message_subjects, break_glass_claims, used_tokens, addenda, redecisions, recalls, deletions
  TO safelane_worker;
GRANT SELECT, INSERT, UPDATE ON tickets, retrospective_reviews, clocks, requests TO safelane_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON redecide_due TO safelane_worker;
GRANT SELECT, UPDATE ON register_change TO safelane_worker, safelane_api;
GRANT SELECT, INSERT ON approvals, redecisions, redecide_due, signed_objects, outbox TO safelane_api;
GRANT SELECT ON consents, message_subjects, break_glass_claims, used_tokens, addenda, tickets, retrospective_reviews, clocks, recalls, deletions,
  requests TO safelane_api;
GRANT UPDATE (collected_at, collected_event) ON tickets TO safelane_api;
GRANT UPDATE (state, claimed_by, claimed_at, decided_by, decided_at, decision_reason) ON holds TO safelane_api;
GRANT UPDATE (state, claimed_by, claimed_at, decided_by, decided_at) ON retrospective_reviews TO safelane_api;
GRANT SELECT (body) ON messages TO safelane_api;
GRANT SELECT ON approvals, consents, break_glass_claims, used_tokens, redecisions, redecide_due, tickets, retrospective_reviews, clocks, recalls,
  deletions, requests, register_change TO safelane_reader;
"""


def upgrade() -> None:
    """Make the registers and grant least privilege."""
    for script in (REGISTERS, LATER, REVIEWS, GRANTS):
        op.execute(script)
