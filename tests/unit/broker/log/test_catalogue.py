from pathlib import Path

from broker.log.catalogue import write_catalogue


def test_the_published_catalogue_is_the_codes_own() -> None:
    published = Path(__file__).parents[4] / "docs" / "events.md"
    assert published.read_text(encoding="utf-8") == write_catalogue(), (
        "run: python -m broker.log.catalogue > docs/events.md"
    )
