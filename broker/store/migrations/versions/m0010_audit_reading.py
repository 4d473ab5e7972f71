"""What the audit's pages read: saved searches, and indexes for what is open or newest."""

from alembic import op

revision = "0010_audit_reading"
down_revision = "0009_console"

TABLES = """
CREATE TABLE audit_saved_views (
  owner text NOT NULL,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 60),
  search jsonb NOT NULL,
  saved_at timestamptz NOT NULL,
  PRIMARY KEY (owner, name)
);
"""

# Partial where rows are mostly done: what is open stays few, and the worker's inserts pay for little.
INDEXES = """
DROP INDEX audit_events_by_time;
CREATE INDEX audit_events_by_time ON audit_events (at, position) INCLUDE (stream);
CREATE INDEX clocks_breached ON clocks (breached_at) WHERE state = 'breached' AND met_at IS NULL;
CREATE INDEX quarantine_by_time ON quarantine (last_at, quarantine_id);
CREATE INDEX quarantine_open ON quarantine (last_at) WHERE state = 'open';
CREATE INDEX retrospective_reviews_by_message ON retrospective_reviews (message_id);
CREATE INDEX retrospective_reviews_open ON retrospective_reviews (deadline_at) WHERE state = 'open';
CREATE INDEX consents_by_time ON consents (received_at, consent_id);
CREATE INDEX log_cosignatures_by_witness ON log_cosignatures (witness, size);
"""

GRANTS = "GRANT SELECT, INSERT, UPDATE, DELETE ON audit_saved_views TO safelane_api, safelane_console"


def upgrade() -> None:
    """Make the table and the indexes; saved searches are kept by the API's and the console's roles."""
    for script in (TABLES, INDEXES, GRANTS):
        op.execute(script)
