"""Whether the log holds: signed heads, who cosigned them, a check in the page, and the proof of any event as a file."""

from fastapi import Response

from broker.audit.log_check import check_log, prove_position
from broker.audit.proofs import require_provable, write_proofs
from broker.audit.registers import list_checkpoints
from broker.console.access import Capability
from broker.console.page import Page
from broker.console.routing import Pages
from broker.log.witnessing import read_witness_state
from schemas.errors import MalformedMessage

pages = Pages("integrity", navigation=("Log integrity", "/log-integrity", Capability.VERIFY_LOG, 90))

_SHOWN = 25


@pages.read("/log-integrity", capability=Capability.VERIFY_LOG, action="log_integrity")
async def show_integrity(page: Page) -> Response:
    """Check the log, and show its heads and witnesses."""
    directory = (await page.context.registry.current()).directory
    below = _read_number(page.request.query_params.get("below"))
    async with page.connection() as connection:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            findings = await check_log(connection, directory)
        heads = await list_checkpoints(connection, below=below, most=_SHOWN)
        witnesses = await read_witness_state(connection, directory)
    return await page.render(
        "heads.html",
        findings=findings,
        heads=heads,
        witnesses=witnesses,
        verifier=directory.hub.log_verifier,
        names=list(directory.witnesses.agencies),
        following=f"/log-integrity?below={heads[-1].size}" if len(heads) == _SHOWN else None,
        first="/log-integrity" if below else None,
    )


@pages.read("/log/proofs/{position}", capability=Capability.VERIFY_LOG, action="log_proof")
async def show_proof(page: Page, position: int) -> Response:
    """Prove one event under a signed head."""
    directory = (await page.context.registry.current()).directory
    async with page.connection() as connection:
        proof = await prove_position(connection, directory, position)
    return await page.render("proof.html", proof=proof, may_export=page.user.may(Capability.EXPORT_LOG))


@pages.read("/log/proofs/{position}/file", capability=Capability.VERIFY_LOG, action="log_proof")
async def send_proof(page: Page, position: int) -> Response:
    """Send the proof as a file (C2SP tlog-proof)."""
    directory = (await page.context.registry.current()).directory
    async with page.connection() as connection:
        proof = await prove_position(connection, directory, position)
    headers = {"Content-Disposition": f'attachment; filename="event-{position}.tlog-proof"'}
    return Response(proof.text, media_type="text/plain; charset=utf-8", headers=headers)


@pages.read("/log/proofs/{position}/event", capability=Capability.EXPORT_LOG, action="export_proofs")
async def send_event(page: Page, position: int) -> Response:
    """Send the event's own bytes with its proof, to be verified without the hub."""
    async with page.connection() as connection:
        await require_provable(connection, position, agency=page.user.agency)
        file = await write_proofs(connection, page.context.registry, [position])
    headers = {"Content-Disposition": f'attachment; filename="event-{position}.proofs.json"'}
    return Response(file, media_type="application/json", headers=headers)


def _read_number(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise MalformedMessage("must be a number", field="below")
    return int(text)
