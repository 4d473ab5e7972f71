"""What a check found, in three lists of sentences for people, and the exit code that they make."""

from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.errors import SafelaneError


@dataclass(slots=True)
class Verdict:
    """What is proved, what is left open, and what is false."""

    proved: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all proved, 1 something is left open, 4 something is false."""
        return 4 if self.broken else 1 if self.open else 0

    def attempt(self, what: str, check: Callable[[], str]) -> bool:
        """Run a check; its text is what was proved, its error (codes and field paths, never values) what is false."""
        try:
            self.proved.append(check())
        except SafelaneError as error:
            self.broken.append(f"{what}: {error.code} ({error.field or 'no field'})")
        except (KeyError, TypeError, ValueError, IndexError):
            self.broken.append(f"{what}: not of its form")
        else:
            return True
        return False
