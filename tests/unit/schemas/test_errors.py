"""Errors: families, status, and nothing that repeats what was sent."""

import inspect

from schemas import errors


def test_every_error_belongs_to_one_family_and_states_what_to_do() -> None:
    families = (
        errors.Rejected,
        errors.Withheld,
        errors.Undeliverable,
        errors.DependencyUnavailable,
        errors.ConfigInvalid,
        errors.IntegrityBroken,
    )
    found = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.SafelaneError)]
    for kind in found:
        assert 400 <= kind.status < 600
        assert kind.public_message.endswith(".")
        if kind is not errors.SafelaneError:
            assert sum(issubclass(kind, family) for family in families) == 1
    assert len({kind.code for kind in found}) == len(found)


def test_diagnostics_name_the_field_and_the_rule() -> None:
    error = errors.Rejected("wrong check digit", field="nominals[0].nhsNo")
    assert error.diagnostics()["field"] == "nominals[0].nhsNo"
    assert str(error) == "nominals[0].nhsNo: wrong check digit"
