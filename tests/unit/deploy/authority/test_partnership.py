"""The partnership file: the sample with its unquoted commas reads whole, and what is wrong is named without its value."""

from pathlib import Path

import pytest
import yaml

from deploy.authority.partnership import load_partnership, parse_partnership
from schemas.errors import ConfigInvalid
from tests.support.authority import SAMPLES

TEXT = (SAMPLES / "partnership.yaml").read_text(encoding="utf-8")


def test_the_sample_reads_whole() -> None:
    found = load_partnership(SAMPLES / "partnership.yaml")
    assert len(found.agencies) == 15
    assert found.partnership.test_mode
    csc = next(a for a in found.agencies if a.id == "csc.marchshire")
    lead = next(c for c in csc.contacts if c.id == "strategy-lead")
    assert (lead.post, lead.roles) == ("Strategy lead (named, online abuse)", ("csc_named",))
    assert len(lead.phone) == 12
    assert [a.id for a in found.agreements][:2] == ["DSA-01", "DSA-02"]
    assert {c.id for c in found.calendars} == {"la-marchshire", "oakfield", "st-hilda"}


def test_a_value_with_several_commas_is_joined() -> None:
    text = TEXT.replace("post: DSL, name: Mr", "post: Lead (one, two, three), name: Mr")
    oakfield = next(a for a in parse_partnership(text).agencies if a.id == "school.oakfield")
    assert oakfield.contacts[0].post == "Lead (one, two, three)"


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("roles: [police, police_prevent]", "rolls: [police]", "agencies.0.roles"),
        (
            "area: E10999001\n    public_body: true",
            "area: E10999001\n    public_body: perhaps Quillfeather",
            "agencies.0.public_body",
        ),
        ("id: police.marchshire-ops", "id: police.marchshire", "agencies"),
        ("starts_on: 2026-09-30", "starts_on: Quillfeather", "agreements.0.starts_on"),
    ],
)
def test_a_broken_rule_names_the_field_and_not_the_value(old: str, new: str, field: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigInvalid) as caught:
        parse_partnership(TEXT.replace(old, new, 1))
    if field != "agencies":
        assert field in str(caught.value.field)
    assert "Quillfeather" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "a: [", "a: 1\na: 2", "partnership: {id: x, id: y}", "!!python/object/apply:os.getcwd []"]
)
def test_what_is_no_partnership_file_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid):
        parse_partnership(text)


def test_a_missing_or_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid):
        load_partnership(tmp_path / "none.yaml")
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"# " + b"x" * (5 * 1024 * 1024))
    with pytest.raises(ConfigInvalid, match="over"):
        load_partnership(huge)


def test_keys_in_a_partnership_file_do_not_count() -> None:
    data = yaml.safe_load(TEXT)
    data["agencies"][0]["keys"] = {"api": [{"kty": "OKP"}]}
    data["agencies"][0]["enrolled_at"] = "2026-01-01T00:00:00Z"
    from datetime import UTC, datetime

    from deploy.authority.directory_building import build_directory
    from deploy.authority.state import AuthorityState
    from schemas.signed_directory import is_active

    state = AuthorityState(pepper_id="p1", successor_thumbprint="s", ca_certificate="c", ca_key="k")
    directory = build_directory(parse_partnership(yaml.safe_dump(data)), state, (), now=datetime.now(UTC))
    assert not is_active(directory.agencies[0])
    assert directory.agencies[0].keys.api == ()
