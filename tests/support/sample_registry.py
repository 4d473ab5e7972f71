"""A registry whose directory names agencies and witnesses and nothing else: for reads that ask who there is, not whose keys count."""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from schemas.directory import Directory, WitnessPolicy


class SampleRegistry:
    """Gives the same unsigned directory to whoever asks."""

    def __init__(self, agencies: Sequence[str]) -> None:
        now = datetime.now(UTC)
        facts = {
            "kind": "agency",
            "roles": ["csc"],
            "area": "E10999001",
            "public_body": True,
            "s16la_body": True,
        }
        directory = Directory.model_validate(
            {
                "version": 1,
                "issued_at": now,
                "expires_at": now.replace(year=now.year + 1),
                "partnership": {"id": "marchshire"},
                "agencies": [{"id": agency, "name": agency, **facts} for agency in agencies],
                "witnesses": WitnessPolicy(agencies=("csc.marchshire", "police.marchshire"), quorum=2).model_dump(),
            }
        )
        self._snapshot = SimpleNamespace(directory=directory, encryption_keys={})

    async def current(self) -> Any:
        return self._snapshot
