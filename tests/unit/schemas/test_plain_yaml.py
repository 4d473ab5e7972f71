"""YAML is read into plain values or refused with YAMLError: whatever it holds, nothing else is raised and no object is made."""

from datetime import date

import pytest
import yaml

from schemas.plain_yaml import MAX_DEPTH, PlainLoader, read_yaml


def test_plain_values_are_read() -> None:
    assert read_yaml("a: [1, 2.5, yes, null]\nb: {c: 'x: y'}\nd: 2026-11-23\n") == {
        "a": [1, 2.5, True, None],
        "b": {"c": "x: y"},
        "d": date(2026, 11, 23),
    }
    assert read_yaml("") is None


@pytest.mark.parametrize(
    "text",
    [
        "a: b: c",
        "a: 2026-02-30",
        "!!int word",
        "!!python/object/apply:os.getcwd []",
        "? [a]\n: 1",
        "a: &x\n  - *y",
        "\x00",
        "--- a\n--- b",
    ],
)
def test_what_is_no_plain_document_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        read_yaml(text)


@pytest.mark.parametrize(
    "nest", [lambda n: "[" * n + "]" * n, lambda n: "{a: " * n + "1" + "}" * n, lambda n: "- " * n + "x"]
)
def test_deep_nesting_is_refused_before_it_is_built(nest) -> None:
    assert read_yaml(nest(MAX_DEPTH)) is not None
    for depth in (MAX_DEPTH + 1, 200_000):
        with pytest.raises(yaml.YAMLError):
            read_yaml(nest(depth))


def test_a_stricter_loader_is_used() -> None:
    class TextLoader(PlainLoader):
        yaml_implicit_resolvers: dict = {}  # noqa: RUF012 - as PyYAML has it

    assert read_yaml("a: 2026-11-23", TextLoader) == {"a": "2026-11-23"}
