"""``safelane policy``: check decision cases, explain a decision in plain sentences, rehearse a changed pack before it is activated."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli import policy_packs

if TYPE_CHECKING:
    from broker.decisions import DecisionEngine
    from broker.decisions.cases import CaseResult
    from broker.decisions.simulate import Change
    from schemas.decision import Decision

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Pack = Annotated[
    Path | None, typer.Option("--pack", help="Folder of a policy pack; default: the one that is installed.")
]
Local = Annotated[Path | None, typer.Option("--local", help="Folder of a local pack to lay over it.")]
Partnership = Annotated[
    Path | None,
    typer.Option("--partnership", help="Partnership file that says who holds a role; default: the sample one."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Config = Annotated[Path, typer.Option("--config", help="The hub's configuration file (YAML).")]


@app.callback()
def describe() -> None:
    """Check, explain and rehearse need-to-know policy."""


policy_packs.add_commands(app)


@app.command(epilog="Example: safelane policy check decision-cases.yaml --json")
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files of decision cases (YAML).")],
    *,
    pack: Pack = None,
    local: Local = None,
    partnership: Partnership = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="The hub's configuration: check the pack in force there, under its directory."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide every case and print each difference from what it expects, with its explanation. Exit code 1 if there is any."""
    from broker.decisions import DecisionEngine
    from broker.decisions.cases import check_cases, load_cases
    from deploy.policy_rehearsal import choose_pack, read_partnership

    if config is not None:
        engine = _open_active(config)
    else:
        engine = DecisionEngine(choose_pack(pack, local), read_partnership(partnership))
    results = [(path, result) for path in files for result in check_cases(engine, load_cases(path))]
    differing = [(path, result) for path, result in results if result.differences]
    if as_json:
        _print_json(
            {
                "pack": engine.pack.id,
                "policy_digest": engine.pack.digest,
                "cases": len(results),
                "differing": len(differing),
                "results": [_case_to_json(path, result) for path, result in results],
            }
        )
    else:
        for path, result in differing:
            _print_case(path, result)
        typer.echo(
            f"{len(results) - len(differing)} of {len(results)} cases as expected, pack {engine.pack.id} {engine.pack.digest[:16]}."
        )
    if differing:
        raise typer.Exit(1)


@app.command(epilog="Example: safelane policy explain dlv_3kq9x2vw --by ann --config hub.yaml")
def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="ID|FILE",
            help="A referral, message or delivery id; or a file with decision records (JSON), - for standard input.",
        ),
    ],
    config: Config = Path("hub.yaml"),
    by: Annotated[str, typer.Option(help="Who looks: your person id; default: your user name here.")] = "",
) -> None:
    """Tell decisions in plain sentences. Looking one up at the hub is an event of the log."""
    from broker.decisions.explain import explain_decision

    if what == "-" or Path(what).is_file():
        decisions = [(0, "", decision) for decision in _read_decisions(what)]
    else:
        decisions = _look_up(what, config, by)
    for position, (number, cause, decision) in enumerate(decisions):
        if position:
            typer.echo()
        if number:
            typer.secho(f"Decided again ({number}), because of: {cause.replace('_', ' ')}", bold=True)
        for line in explain_decision(decision):
            typer.echo(line)


@app.command(epilog="Example: safelane policy simulate --pack policies/next --last 500 --config hub.yaml")
def simulate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE…]", help="Decision cases to rehearse on; none: the hub's last decisions."),
    ] = None,
    *,
    pack: Annotated[
        Path | None, typer.Option("--pack", help="Folder of the new pack; default: the one that is installed.")
    ] = None,
    local: Annotated[Path | None, typer.Option("--local", help="Folder of the new local pack.")] = None,
    now_pack: Annotated[
        Path | None,
        typer.Option("--now", help="Folder of the pack that is active now; default: the one in force at the hub."),
    ] = None,
    now_local: Annotated[
        Path | None, typer.Option("--now-local", help="Folder of the local pack that is active now.")
    ] = None,
    last: Annotated[
        int, typer.Option(min=1, max=100_000, help="How many of the hub's last decisions to replay.")
    ] = 500,
    partnership: Partnership = None,
    config: Config = Path("hub.yaml"),
    as_json: AsJson = False,
) -> None:
    """Decide past inputs under a changed pack and print what would change, for whom. Nothing is activated or sent."""
    import asyncio

    from broker.decisions import DecisionEngine
    from broker.decisions.cases import load_cases
    from broker.decisions.simulate import simulate as run
    from deploy.policy_rehearsal import choose_pack, read_partnership, read_past_decisions, record_cases

    new, unreadable = choose_pack(pack, local), 0
    named = choose_pack(now_pack, now_local) if now_pack or now_local else None
    if files:
        current = named or choose_pack(None, None)
        directory = read_partnership(partnership)
        engines = DecisionEngine(current, directory), DecisionEngine(new, directory)
        inputs = [one for path in files for one in record_cases(load_cases(path), *engines)]
    else:
        from broker.config import load_config

        past, *found = asyncio.run(read_past_decisions(load_config(config), last, named, new))
        engines, inputs, unreadable = (found[0], found[1]), list(past.inputs), past.unreadable
    changes = run(inputs, *engines)
    if as_json:
        _print_json(
            {
                "now": engines[0].pack.digest,
                "new": new.digest,
                "replayed": len(inputs),
                "unreadable": unreadable,
                "changed": [_change_to_json(change) for change in changes],
            }
        )
        return
    _print_rehearsal(changes, len(inputs), unreadable)


@app.command(epilog="Example: safelane policy rerun dlv_3kq9x2vw --by ann --config hub.yaml")
def rerun(
    searched_id: Annotated[
        str, typer.Argument(metavar="[ID]", help="A referral, message or delivery id; none: the last decisions.")
    ] = "",
    *,
    last: Annotated[int, typer.Option(min=1, max=100_000, help="How many, where no id is given.")] = 500,
    config: Config = Path("hub.yaml"),
    by: Annotated[str, typer.Option(help="Who looks: your person id; default: your user name here.")] = "",
    as_json: AsJson = False,
) -> None:
    """Run recorded decisions again, each with its own policy pack, directory version and registers. Exit code 1 if any gives another answer."""
    import asyncio
    import getpass

    from broker.config import load_config
    from deploy.policy_rehearsal import rerun_decisions

    found, erased = asyncio.run(
        rerun_decisions(load_config(config), searched_id=searched_id, last=last, by=by or getpass.getuser())
    )
    same = sum(one.is_same for one in found)
    if as_json:
        _print_json(
            {
                "run": len(found),
                "same": same,
                "erased": erased,
                "others": [
                    {
                        "delivery_id": one.recorded.delivery_id,
                        "number": one.recorded.number,
                        "differences": list(one.differences),
                        "not_run": one.not_run or None,
                    }
                    for one in found
                    if not one.is_same
                ],
            }
        )
    else:
        for one in found:
            for line in (one.not_run and [f"not run: {one.not_run}"]) or one.differences:
                typer.secho(f"{one.recorded.delivery_id} #{one.recorded.number}: {line}", fg="red")
        more = f", {erased} erased" if erased else ""
        typer.echo(f"{len(found)} decisions run again{more}: {same} gave the same answer.")
    if same != len(found):
        raise typer.Exit(1)


@app.command(epilog="Example: safelane policy show --pack policies/next")
def show(pack: Pack = None, local: Local = None) -> None:
    """List a pack's rules with row, reason and authority, its sources, and what must be confirmed before release."""
    from deploy.policy_rehearsal import choose_pack

    chosen = choose_pack(pack, local)
    typer.secho(f"{chosen.id}: {chosen.title} ({chosen.digest})", bold=True)
    for policy in sorted(chosen.policies.values(), key=lambda p: (p.effect, p.step, p.id)):
        typer.echo(f"  {policy.row or 'note':10} {policy.effect:6} {policy.id}: {policy.reason} [{policy.authority}]")
    typer.secho("Confirm before release", bold=True)
    for point in chosen.about.get("confirm_before_release", ()):
        typer.echo(f"  {point['point']} ({', '.join(point['policies'])})")


def _read_decisions(what: str) -> "list[Decision]":
    """Read decision records: one, a list, or an object that holds them under ``decisions`` (a plan)."""
    import json
    import sys

    from pydantic import ValidationError

    from schemas.decision import Decision
    from schemas.errors import Rejected

    try:
        text = sys.stdin.read() if what == "-" else Path(what).read_text(encoding="utf-8")
        data = json.loads(text)
        records = data if isinstance(data, list) else data.get("decisions", [data])
        return [Decision.model_validate(record) for record in records]
    except (ValueError, OSError, AttributeError, ValidationError) as error:
        raise Rejected(f"holds no decision record ({type(error).__name__})", field="FILE") from None


def _look_up(searched_id: str, config: Path, by: str) -> "list[tuple[int, str, Decision]]":
    """Read the decisions of a referral, message or delivery from the hub's records; the log says who looked."""
    import getpass

    from broker.config import load_config
    from deploy.audit_here import LocalAudit

    return LocalAudit(load_config(config), by or getpass.getuser()).decisions(searched_id)


def _open_active(config: Path) -> "DecisionEngine":
    """Return the engine of the pack in force at a hub."""
    import asyncio

    from broker.config import load_config
    from broker.decisions import DecisionEngine
    from deploy.policy_rehearsal import read_active

    return DecisionEngine(*asyncio.run(read_active(load_config(config))))


def _case_to_json(path: Path, result: "CaseResult") -> dict[str, Any]:
    from broker.decisions.explain import explain_decision

    return {
        "file": path.name,
        "id": result.case.id,
        "agrees": not result.differences,
        "differences": [
            {"what": what, "expected": expected, "found": found} for what, expected, found in result.differences
        ],
        "decision": result.decision.to_json(),
        "explanation": explain_decision(result.decision) if result.differences else [],
    }


def _print_case(path: Path, result: "CaseResult") -> None:
    from broker.decisions.explain import explain_decision

    typer.secho(f"{path.name} {result.case.id}: {result.case.title}", bold=True)
    for what, expected, found in result.differences:
        typer.secho(f"  {what}: expected {_say(expected)}, found {_say(found)}", fg="red")
    for line in explain_decision(result.decision):
        typer.echo(f"    {line}")


def _print_rehearsal(changes: "Sequence[Change]", replayed: int, unreadable: int) -> None:
    for change in changes:
        _print_change(change)
    more = f", {unreadable} could not be read back" if unreadable else ""
    widened = sum(change.widens for change in changes)
    typer.echo(f"{replayed} decisions replayed{more}: {len(changes)} would change, {widened} of them wider.")


def _print_change(change: "Change") -> None:
    wider = "  WIDER" if change.widens else ""
    typer.secho(
        f"{change.name}: {change.after.recipient} as {change.after.role}, for {change.after.purpose}{wider}", bold=True
    )
    for line in change.differences:
        typer.echo(f"  {line}")
    typer.echo(f"  Now: {change.before.reason}")
    typer.echo(f"  New: {change.after.reason}")


def _change_to_json(change: "Change") -> dict[str, Any]:
    return {
        "name": change.name,
        "recipient": change.after.recipient,
        "widens": change.widens,
        "differences": list(change.differences),
        "now": change.before.to_json(),
        "new": change.after.to_json(),
    }


def _print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=1, default=str))


def _say(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(str(one) for one in value) or "none"
    return "none" if value is None else str(value)
