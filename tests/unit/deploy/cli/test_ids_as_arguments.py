"""Ids that begin with a hyphen, on every command that takes one."""

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from deploy.cli import app
from deploy.cli.ids_as_arguments import take_ids
from schemas.errors import ConfigInvalid

SIXTEEN, DIGEST = "-tQuMfuD123WEFoZnoJVBQ", "-ChQuMfuD123WEFoZnoJVBQ0jcbCe3kPhsljAmow080"
TWO_HYPHENS = "--lgFzUc7SR3u3oBiyloTQ"
AGAIN = "-ctQuMfuD123WEFoZnoJVB"
"""One that begins as the option -c does."""


@pytest.mark.parametrize("given", [SIXTEEN, DIGEST, TWO_HYPHENS, AGAIN])
@pytest.mark.parametrize(
    "command",
    [
        ["gateway", "status"],
        ["gateway", "recall", "--reason-code", "wrong_child"],
        ["gateway", "confirm-deletion"],
        ["gateway", "approvals", "give", "--person", "p-17"],
        ["gateway", "consent", "withdraw", "--person", "p-17", "--reason-code", "changed_mind"],
        ["audit", "show", "--by", "ann"],
        ["evidence", "export", "--by", "ann", "--out", "pack.zip"],
    ],
    ids=" ".join,
)
def test_an_id_that_begins_with_a_hyphen_is_no_option(command: list[str], given: str, tmp_path: Path) -> None:
    # Read as an id, the command goes on to its configuration, which is not there; as an option it is wrong usage.
    done = CliRunner().invoke(app, [*command, given, "--config", str(tmp_path / "none.yaml")])
    assert isinstance(done.exception, ConfigInvalid), (done.output, done.exception)


def test_values_arrive_as_they_were_given() -> None:
    seen: list[Any] = []
    program = typer.Typer(add_completion=False)

    @program.command()
    def run(
        one: str,
        file: Annotated[Path, typer.Option()],
        many: Annotated[list[str], typer.Option()],
        short: Annotated[bool, typer.Option("--a-name-of-twenty-two")] = False,
    ) -> None:
        seen.append((one, file, many, short))

    given = [SIXTEEN, "--file", DIGEST, "--many", TWO_HYPHENS, "--many", "x", "--a-name-of-twenty-two"]
    typer_command = take_ids(typer.main.get_command(program))
    typer_command.main(given, standalone_mode=False)
    assert seen == [(SIXTEEN, Path(DIGEST), [TWO_HYPHENS, "x"], True)]
