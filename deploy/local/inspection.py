"""Searching everything that the hub and the servers keep for the content of the referrals that went through them (promise 1).

What is searched: every table of the hub's database as PostgreSQL hands it out (so that compression on disk hides nothing), the files of
PostgreSQL and RabbitMQ with their logs, the hub's own folder, and the gateways' folders, whose stores are encrypted at rest.
"""

import asyncio
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any

import asyncpg

from deploy.local.leak_search import LeakSearch, SearchReport
from deploy.local.local_partnership import LocalPartnership
from schemas.referral import Referral

MIN_NEEDLE_CHARACTERS = 10
_TELLING = re.compile(r"\d{10}|.\s.")
"""A needle holds ten digits in a row, or more than one word: single words are codes of ours as often as content."""


def collect_needles(referrals: Iterable[Referral], public_text: str) -> list[str]:
    """Return the texts of these referrals that may stand nowhere in clear, without what is public: the directory, the policies, the header's codes."""
    needles: dict[str, None] = {}
    for referral in referrals:
        open_facts = {referral.lawful_basis.provision, referral.lawful_basis.art9}
        for part in referral.parts:
            for statement in part.statements:
                needles |= dict.fromkeys(t for t in _iterate_texts(statement.value) if t not in open_facts)
            if part.summary:
                needles[part.summary] = None
        for subject in referral.subjects:
            needles |= dict.fromkeys(identifier.value for identifier in subject.identifiers)
    return [n for n in needles if _is_telling(n) and n not in public_text]


def search_everything(partnership: LocalPartnership, needles: Iterable[str]) -> SearchReport:
    """Search database, queues, logs and stores of a partnership for ``needles``, in every likely encoding.

    Raises:
        ConfigInvalid: there is nothing to search for.
    """
    search = LeakSearch(needles)
    report = asyncio.run(_search_database(search, partnership.stack.addresses.postgres_dsn))
    roots = [partnership.hub.root, partnership.authority, *(gateway.root for gateway in partnership.gateways)]
    for root in (*partnership.stack.data_folders, *roots):
        report.add(search.search_tree(root))
    return report


async def _search_database(search: LeakSearch, dsn: str) -> SearchReport:
    report = SearchReport()
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
        )
        for row in tables:
            copied = io.BytesIO()
            await connection.copy_from_table(row["tablename"], output=copied, format="binary", timeout=60)
            report.add(search.search_bytes(copied.getvalue(), f"table {row['tablename']}"))
    finally:
        await connection.close(timeout=10)
    return report


def _iterate_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _iterate_texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _iterate_texts(member)


def _is_telling(text: str) -> bool:
    return len(text) >= MIN_NEEDLE_CHARACTERS and _TELLING.search(text) is not None
