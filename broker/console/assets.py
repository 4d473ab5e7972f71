"""Style, script and pictures, read once at the start and served under an address that holds their digest, so that browsers keep them for good."""

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.errors import ConfigInvalid

OWN_FOLDER: Final = Path(__file__).parent / "static"
_NEEDED: Final = ("govuk-frontend.min.css", "govuk-frontend.min.js", "moj-frontend.min.css")
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Assets:
    """All files by name, and the digest of all of them."""

    files: dict[str, Asset]
    digest: str

    def url(self, name: str) -> str:
        """Return where ``name`` is served; a name that is not there is a fault of ours."""
        if name not in self.files:
            raise KeyError(name)
        return f"/static/{self.digest}/{name}"


def load_assets(fetched: Path) -> Assets:
    """Read the design system's files below ``fetched`` and our own.

    Raises:
        ConfigInvalid: the design system's files are not there.
    """
    files: dict[str, Asset] = {}
    for folder in (fetched, OWN_FOLDER):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix != ".sha256":
                media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
                files[path.relative_to(folder).as_posix()] = Asset(path.read_bytes(), media_type)
    if not all(name in files for name in _NEEDED):
        raise ConfigInvalid(
            "the design system's assets are not there: run `make setup`, or `python -m deploy.console_assets`",
            field="console.assets_folder",
        )
    digest = hashlib.sha256()
    for name, asset in files.items():
        digest.update(name.encode() + b"\0" + hashlib.sha256(asset.content).digest())
    return Assets(files, digest.hexdigest()[:16])
