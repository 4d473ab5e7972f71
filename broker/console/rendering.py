"""Pages from Jinja2 templates: escaped, with the GOV.UK macros under ``govuk_frontend_jinja/``, and filters for dates and numbers."""

from pathlib import Path
from typing import Any, Final

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, PrefixLoader

from broker.console import formats, vocabulary
from broker.console.addresses import with_next
from broker.console.assets import Assets
from schemas.codes import name_clock

TEMPLATES: Final = Path(__file__).parent / "templates"


class Renderer:
    """Renders templates; one environment, compiled once."""

    def __init__(self, assets: Assets, **known: Any) -> None:
        """Prepare the environment; every template knows ``known`` and ``asset(name)``."""
        self._environment = Environment(
            loader=ChoiceLoader(
                [
                    FileSystemLoader(TEMPLATES),
                    PrefixLoader({"govuk_frontend_jinja": PackageLoader("govuk_frontend_jinja")}),
                ]
            ),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {
            "day": formats.format_day,
            "time": formats.format_time,
            "moment": formats.format_moment,
            "number": formats.format_number,
            "span": formats.format_span,
            "until": formats.format_until,
            "instant": formats.format_instant,
            "state": vocabulary.find_state,
            "code": vocabulary.tell_code,
            "kind": vocabulary.tell_kind,
            "dates": vocabulary.write_dates,
        }
        self._environment.globals |= {
            "asset": assets.url,
            "count_of": formats.count_of,
            "with_next": with_next,
            "name_clock": name_clock,
            "compartments": vocabulary.COMPARTMENTS,
            "results": vocabulary.RESULTS,
            "role_words": vocabulary.ROLES,
            "method_words": vocabulary.METHODS,
            **known,
        }

    def render(self, template: str, **values: Any) -> str:
        """Return the page."""
        return self._environment.get_template(template).render(**values)
