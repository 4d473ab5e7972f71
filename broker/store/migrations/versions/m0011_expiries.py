"""What ran out and was said aloud: consents, decisions of what is queued or held, and agreements that end; each is noted once."""

from alembic import op

revision = "0011_expiries"
down_revision = "0010_audit_reading"

TABLES = """
ALTER TABLE consents ADD COLUMN expires_at timestamptz;
UPDATE consents SET expires_at = (record ->> 'expires_at')::timestamptz WHERE state = 'given';
CREATE INDEX consents_by_expiry ON consents (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE consent_expiries (
  object_digest text PRIMARY KEY REFERENCES consents,
  noted_at timestamptz NOT NULL
);
CREATE TABLE decision_expiries (
  message_id uuid NOT NULL,
  delivery_id text NOT NULL,
  valid_until timestamptz NOT NULL,
  noted_at timestamptz NOT NULL,
  PRIMARY KEY (message_id, delivery_id, valid_until),
  FOREIGN KEY (message_id, delivery_id) REFERENCES deliveries
);
CREATE TABLE agreement_warnings (
  agreement text NOT NULL,
  code text NOT NULL,
  due_on date NOT NULL,
  noted_at timestamptz NOT NULL,
  PRIMARY KEY (agreement, code, due_on)
);
CREATE INDEX tickets_uncollected ON tickets (message_id, delivery_id) WHERE collected_at IS NULL;
"""

GRANTS = """
GRANT SELECT, INSERT ON consent_expiries, decision_expiries, agreement_warnings TO safelane_worker;
GRANT SELECT ON consent_expiries, decision_expiries, agreement_warnings TO safelane_api, safelane_reader;
"""


def upgrade() -> None:
    """Create the tables and the columns."""
    for script in (TABLES, GRANTS):
        op.execute(script)
