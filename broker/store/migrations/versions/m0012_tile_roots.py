"""Each full tile keeps its root, so that a partial tile above it is read, not computed: a proof's cost does not grow with the tiles' number."""

from alembic import op

revision = "0012_tile_roots"
down_revision = "0011_expiries"

ROOT_OF_TILE = """
CREATE FUNCTION pg_temp.root_of_tile(hashes bytea) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  nodes bytea := hashes;
  above bytea;
BEGIN
  WHILE octet_length(nodes) > 32 LOOP
    SELECT string_agg(sha256('\\x01'::bytea || substring(nodes FROM at FOR 64)), ''::bytea ORDER BY at)
      INTO above FROM generate_series(1, octet_length(nodes), 64) AS at;
    nodes := above;
  END LOOP;
  RETURN nodes;
END $$
"""


def upgrade() -> None:
    """Add ``log_tiles.root``, computed for the tiles that are there (RFC 9162 section 2.1.1)."""
    op.execute(ROOT_OF_TILE)
    op.execute("ALTER TABLE log_tiles ADD COLUMN root bytea CHECK (octet_length(root) = 32)")
    op.execute("UPDATE log_tiles SET root = pg_temp.root_of_tile(hashes)")
    op.execute("ALTER TABLE log_tiles ALTER COLUMN root SET NOT NULL")
