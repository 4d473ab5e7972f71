"""Options that the commands of ``safelane gateway`` share. Importing this costs nothing, so that ``--help`` is quick."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_CONFIG = Path("gateway.yaml")

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The gateway's configuration (YAML).")]
AgencyOption = Annotated[
    str | None, typer.Option("--agency", help="Which agency; needed when the gateway serves several.")
]
Person = Annotated[str, typer.Option("--person", help="Your id; never your name.")]
