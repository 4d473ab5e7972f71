"""The registry: directory versions, key announcements, invitations, enrolments, used access tokens, delivery queues.

Revision ID: 0002_registry
Revises: 0001_core
"""

from alembic import op

revision = "0002_registry"
down_revision = "0001_core"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE registry_change (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    change bigint NOT NULL DEFAULT 0
);
INSERT INTO registry_change DEFAULT VALUES;

CREATE TABLE directory_versions (
    version integer PRIMARY KEY CHECK (version > 0),
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    body bytea NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE key_announcements (
    agency text NOT NULL,
    kid text NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    body bytea NOT NULL,
    not_before timestamptz NOT NULL,
    not_after timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (agency, kid)
);
CREATE INDEX key_announcements_not_after ON key_announcements (not_after);

CREATE TABLE enrolments (
    enrolment_id text PRIMARY KEY,
    agency text NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'refused', 'enrolled')),
    fingerprint text NOT NULL,
    request bytea NOT NULL,
    created_at timestamptz NOT NULL,
    decided_at timestamptz,
    welcome bytea,
    CHECK ((state = 'enrolled') = (welcome IS NOT NULL))
);
CREATE INDEX enrolments_pending ON enrolments (created_at) WHERE state = 'pending';

CREATE TABLE invitations (
    secret_sha256 bytea PRIMARY KEY CHECK (length(secret_sha256) = 32),
    agency text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    enrolment_id text REFERENCES enrolments
);

CREATE TABLE access_token_ids (
    issuer text NOT NULL,
    jti text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, jti)
);
CREATE INDEX access_token_ids_expires_at ON access_token_ids (expires_at);

CREATE TABLE agency_queues (
    agency text PRIMARY KEY,
    queue text NOT NULL UNIQUE,
    provisioned_at timestamptz,
    removed_at timestamptz
);
"""

# The worker only reads. The API adds, and changes what is no history: a directory version or an announcement is never updated or deleted.
GRANTS = """
GRANT SELECT ON registry_change, directory_versions, key_announcements, agency_queues TO safelane_worker, safelane_reader;
GRANT SELECT, UPDATE ON registry_change TO safelane_api;
GRANT SELECT, INSERT ON directory_versions, key_announcements TO safelane_api;
GRANT SELECT, INSERT, UPDATE ON enrolments, invitations, agency_queues TO safelane_api;
GRANT SELECT, INSERT, DELETE ON access_token_ids TO safelane_api;
"""


def upgrade() -> None:
    """Make the tables and grant least privilege."""
    op.execute(TABLES)
    op.execute(GRANTS)


def downgrade() -> None:
    """Drop them: signed directories can be published again by the authority."""
    op.execute(
        "DROP TABLE agency_queues, access_token_ids, invitations, enrolments, key_announcements, directory_versions, registry_change"
    )
