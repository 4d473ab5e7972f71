"""``safelane evidence``: everything that shows what happened to a referral, in one pack that anyone can verify offline."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deploy.evidence.pack import Files

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def describe() -> None:
    """Make evidence packs. Making one is an event of the log."""


@app.command(epilog="Example: safelane evidence export ref_3kq9x2vw --out evidence.zip --by ann --config hub.yaml")
def export(
    searched_id: Annotated[str, typer.Argument(metavar="ID", help="A referral or message id.")],
    out: Annotated[Path, typer.Option(help="A new folder, or a new file that ends in .zip.")],
    config: Annotated[Path, typer.Option("--config", help="The hub's configuration file (YAML).")] = Path("hub.yaml"),
    by: Annotated[str, typer.Option(help="Who asks: your person id; default: your user name here.")] = "",
) -> None:
    """Write the pack: envelopes, decisions, receipts, proofs, checkpoint, cosignatures, directory, and a PDF."""
    import asyncio
    from datetime import UTC, datetime

    from broker.api.wiring import read_trust_file
    from broker.config import load_config, read_log_key
    from broker.log import LogWriter
    from broker.store import open_pool
    from deploy.evidence.export import export_evidence
    from deploy.evidence.pack import write_pack
    from schemas.errors import ConfigInvalid

    settings = load_config(config)
    if out.exists():
        raise ConfigInvalid("exists already", field="out")
    log = LogWriter(settings.log.origin, read_log_key(settings.log.key_file), epoch=settings.log.epoch)
    authority = read_trust_file(settings.trust_file).authority

    async def collect() -> "Files":
        # The worker's role: it alone may read sealed envelopes and events with their salts.
        pool = await open_pool(settings.postgres.read_dsn("worker"), name="safelane-evidence", most=1)
        try:
            return await export_evidence(
                pool, log, searched_id, authority, by=by or getpass.getuser(), now=datetime.now(UTC)
            )
        finally:
            await pool.close()

    files = asyncio.run(collect())
    write_pack(files, out)
    typer.echo(f"{len(files)} files in {out}. Check it: safelane verify {out} --trust trust.json")
