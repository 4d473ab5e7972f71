"""The hub's PostgreSQL: pool, migrations, and queries by area."""

from broker.store.migrate import upgrade_database
from broker.store.pool import open_pool, translate_errors

__all__ = ["open_pool", "translate_errors", "upgrade_database"]
