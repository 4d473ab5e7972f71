"""Timestamps of checkpoints from an authority outside (RFC 3161): added to, never changed."""

from alembic import op

revision = "0016_timestamps"
down_revision = "0015_pairs"

TABLES = """
CREATE TABLE log_timestamps (
  size bigint PRIMARY KEY REFERENCES log_checkpoints,
  token bytea NOT NULL,
  stamped_at timestamptz NOT NULL,
  received_at timestamptz NOT NULL
);
"""

GRANTS = """
GRANT SELECT, INSERT ON log_timestamps TO safelane_api;
GRANT SELECT ON log_timestamps TO safelane_worker, safelane_reader, safelane_console;
"""


def upgrade() -> None:
    """Create the table."""
    for script in (TABLES, GRANTS):
        op.execute(script)
