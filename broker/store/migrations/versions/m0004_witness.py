"""Checkpoints proposed to the witnesses, and the witnesses' cosignatures: added to, never changed."""

from alembic import op

revision = "0004_witness"
down_revision = "0003_registers"

WITNESS = """
CREATE TABLE log_proposals (
  size bigint PRIMARY KEY REFERENCES log_checkpoints,
  at timestamptz NOT NULL
);
CREATE TABLE log_cosignatures (
  size bigint NOT NULL REFERENCES log_checkpoints,
  witness text NOT NULL,
  line text NOT NULL,
  at timestamptz NOT NULL,
  received_at timestamptz NOT NULL,
  PRIMARY KEY (size, witness)
);
"""

GRANTS = """
GRANT SELECT, INSERT ON log_proposals, log_cosignatures TO safelane_api;
GRANT SELECT ON log_proposals, log_cosignatures TO safelane_worker, safelane_reader;
"""


def upgrade() -> None:
    """Create the tables."""
    for script in (WITNESS, GRANTS):
        op.execute(script)
