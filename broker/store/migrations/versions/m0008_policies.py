"""Policy packs by digest, and which directory version took which into use: old decisions can be run again with the pack that made them."""

from alembic import op

revision = "0008_policies"
down_revision = "0007_audit"

TABLES = """
CREATE TABLE policy_packs (
  policy_digest text PRIMARY KEY,
  pack_id text NOT NULL,
  title text NOT NULL,
  body bytea NOT NULL,
  added_at timestamptz NOT NULL,
  added_by text
);
CREATE TABLE policy_activations (
  directory_version integer PRIMARY KEY REFERENCES directory_versions (version),
  policy_digest text NOT NULL,
  approvals text[] NOT NULL,
  activated_at timestamptz NOT NULL
);
ALTER TABLE approvals ADD COLUMN policy_digest text;
CREATE INDEX approvals_by_policy ON approvals (policy_digest) WHERE policy_digest IS NOT NULL;
ALTER TABLE redecisions ADD COLUMN directory_version integer;
"""

# A pack is added, never changed. Every program lodges the one that it was installed with; the rest comes through the API.
GRANTS = """
GRANT SELECT, INSERT ON policy_packs TO safelane_worker, safelane_api;
GRANT SELECT, INSERT ON policy_activations TO safelane_api;
GRANT SELECT ON policy_activations TO safelane_worker;
GRANT SELECT ON policy_packs, policy_activations TO safelane_reader;
"""


def upgrade() -> None:
    """Create the tables and columns."""
    for script in (TABLES, GRANTS):
        op.execute(script)
