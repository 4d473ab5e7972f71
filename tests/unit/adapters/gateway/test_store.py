"""The store keeps what it was given, shows nobody what it keeps, and refuses what does not belong to it."""

import sqlite3
import threading
from pathlib import Path

import pytest

from adapters.gateway.store import GatewayStore
from schemas.errors import ConfigInvalid, DependencyUnavailable, IntegrityBroken

KEY = bytes(range(32))
TABLE = "CREATE TABLE thing (id INTEGER PRIMARY KEY, content BLOB)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.sqlite"


def test_content_is_encrypted_on_disk(path: Path) -> None:
    store = GatewayStore(path, KEY)
    store.migrate("test", (TABLE,))
    with store.transaction() as db:
        db.execute("INSERT INTO thing VALUES (1, ?)", (store.seal("thing.content:1", b"SYNTHETIC canary"),))
    files = b"".join(f.read_bytes() for f in path.parent.iterdir())
    assert b"canary" not in files
    assert store.open("thing.content:1", store.query("SELECT content FROM thing")[0]["content"]) == b"SYNTHETIC canary"


def test_a_value_does_not_open_in_another_place(path: Path) -> None:
    store = GatewayStore(path, KEY)
    sealed = store.seal("thing.content:1", b"x")
    with pytest.raises(IntegrityBroken):
        store.open("thing.content:2", sealed)
    with pytest.raises(IntegrityBroken):
        store.open("thing.content:1", sealed[:-1] + bytes([sealed[-1] ^ 1]))


def test_another_key_is_refused(path: Path) -> None:
    GatewayStore(path, KEY).close()
    with pytest.raises(ConfigInvalid):
        GatewayStore(path, bytes(32))


def test_a_newer_layout_is_refused(path: Path) -> None:
    GatewayStore(path, KEY).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigInvalid):
        GatewayStore(path, KEY)


def test_each_component_migrates_on_its_own_and_once(path: Path) -> None:
    store = GatewayStore(path, KEY)
    store.migrate("one", (TABLE,))
    store.migrate("two", ("CREATE TABLE other (id INTEGER)",))
    store.close()
    store = GatewayStore(path, KEY)
    store.migrate("one", (TABLE, "ALTER TABLE thing ADD COLUMN more TEXT; CREATE TABLE third (id INTEGER);"))
    assert store.query("SELECT more FROM thing") == []
    with pytest.raises(ConfigInvalid):
        store.migrate("one", (TABLE,))


def test_a_failed_block_leaves_nothing(path: Path) -> None:
    store = GatewayStore(path, KEY)
    store.migrate("test", (TABLE,))

    def fail_half_way() -> None:
        with store.transaction() as db:
            db.execute("INSERT INTO thing VALUES (1, x'00')")
            with store.transaction() as inner:
                inner.execute("INSERT INTO thing VALUES (2, x'00')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert store.query("SELECT * FROM thing") == []


def test_a_contradiction_is_not_a_bare_sqlite_error(path: Path) -> None:
    store = GatewayStore(path, KEY)
    store.migrate("test", (TABLE,))

    def insert_twice() -> None:
        with store.transaction() as db:
            db.execute("INSERT INTO thing VALUES (1, x'00')")
            db.execute("INSERT INTO thing VALUES (1, x'00')")

    with pytest.raises(IntegrityBroken):
        insert_twice()
    with pytest.raises(DependencyUnavailable):
        store.query("SELECT * FROM nowhere")


def test_threads_take_turns(path: Path) -> None:
    store = GatewayStore(path, KEY)
    store.migrate("test", ("CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0);",))

    def count() -> None:
        for _ in range(20):
            with store.transaction() as db:
                n = db.execute("SELECT n FROM counter").fetchone()["n"]
                db.execute("UPDATE counter SET n = ?", (n + 1,))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.query("SELECT n FROM counter")[0]["n"] == 80


@pytest.mark.usefixtures("waiting_for_the_disk")
def test_writes_are_flushed_to_disk_at_each_commit(path: Path) -> None:
    store = GatewayStore(path, KEY)
    assert store.query("PRAGMA synchronous")[0][0] == 2
    assert store.query("PRAGMA journal_mode")[0][0] == "wal"


def test_equal_values_have_equal_indexes_only_under_one_key(path: Path, tmp_path: Path) -> None:
    store = GatewayStore(path, KEY)
    other = GatewayStore(tmp_path / "other.sqlite", bytes(32))
    assert store.blind_index("reference", "A1") == store.blind_index("reference", "A1")
    assert store.blind_index("reference", "A1") != store.blind_index("source", "A1")
    assert store.blind_index("reference", "A1") != other.blind_index("reference", "A1")
