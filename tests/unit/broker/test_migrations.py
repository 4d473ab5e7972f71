"""The migrations are one chain: each follows the one numbered before it, so that every hub comes to the same schema by the same way."""

import re
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from broker.store import migrations

VERSIONS = Path(migrations.__path__[0]) / "versions"


def load_scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(VERSIONS.parent))
    return ScriptDirectory.from_config(config)


def test_there_is_one_head_and_it_is_the_highest_number() -> None:
    files = sorted(path.stem.removeprefix("m") for path in VERSIONS.glob("m*.py"))
    assert load_scripts().get_heads() == [files[-1]]


def test_each_follows_the_number_before_it_and_is_named_as_its_file() -> None:
    chain = list(load_scripts().walk_revisions())[::-1]
    assert [script.down_revision for script in chain] == [None, *(script.revision for script in chain[:-1])]
    assert [script.revision[:4] for script in chain] == [f"{number:04}" for number in range(1, len(chain) + 1)]
    assert {f"m{script.revision}" for script in chain} == {Path(script.path).stem for script in chain}


def test_no_file_stands_outside_the_chain() -> None:
    files = {path.name for path in VERSIONS.glob("*.py")} - {"__init__.py"}
    assert files == {Path(script.path).name for script in load_scripts().walk_revisions()}
    assert all(re.fullmatch(r"m\d{4}_[a-z0-9_]+\.py", name) for name in files)
