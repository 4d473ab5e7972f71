"""``python -m deploy.local.clean``: end every server that was started below ``var/`` and remove its data, also what lies outside."""

from pathlib import Path

from deploy.local.processes import ServerProcess
from deploy.local.stack import LocalStack

_VAR = Path(__file__).resolve().parents[2] / "var"


def clean_state(var: Path) -> int:
    """End the programs whose pid files lie below ``var``, destroy the stacks there, and return how many stacks there were."""
    stacks = [path.parent for path in var.rglob("ports.json")]
    for pid_file in var.rglob("*.pid"):
        if not any(pid_file.is_relative_to(stack) for stack in stacks):
            ServerProcess(pid_file.stem, pid_file=pid_file, log_file=pid_file.with_suffix(".log")).end(seconds=10)
    for stack in stacks:
        LocalStack(stack).destroy()
    return len(stacks)


if __name__ == "__main__":
    print(f"Stopped and removed {clean_state(_VAR)} local stack(s)")
