"""What a route declares: who may use it, what is logged before it answers, and its place in the navigation."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request

from broker.console.access import Capability

Subject = Callable[[Request], str | Awaitable[str]]


@dataclass(frozen=True, slots=True)
class RoutePolicy:
    """Who may use a route, and what is logged before it answers.

    Attributes:
        capability: what the viewer's roles must allow; none for a public route.
        action: the code of the read event; none where nothing is read (forms' targets log what they change).
        confirmed: whether a fresh second factor is needed.
        subject: what the read event says of the request; by default the values in its path. It may look up which of them are known.
    """

    method: str
    path: str
    folder: str
    capability: Capability | None
    action: str | None
    confirmed: bool
    subject: Subject


@dataclass(frozen=True, slots=True)
class NavigationItem:
    """A link of the primary navigation, shown to whoever may follow it."""

    text: str
    path: str
    capability: Capability
    order: int
    partnership_only: bool = False
    """Not for people of a single agency: what it shows is everybody's."""
