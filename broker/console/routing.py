"""Routes with their rules: no page is registered without saying who may see it and what is logged before it is shown.

``Pages`` is one group of pages (a module below ``pages`` and a folder of templates). ``read`` registers a page, ``act`` what a form does, ``public``
the little that needs no session. The application refuses to start with a route that came in another way.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, Request

from broker.console.access import CONFIRMED, Capability
from broker.console.page import PageContext, admit
from broker.console.route_policy import NavigationItem, RoutePolicy, Subject

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Pages:
    """One group of pages. ``folder`` is where its templates are."""

    def __init__(self, folder: str, *, navigation: tuple[Any, ...] | None = None) -> None:
        """Name the templates' folder, and the parts of its ``NavigationItem``: text, path, capability, place, whether for the partnership only."""
        self.folder = folder
        self.router = APIRouter()
        self.navigation = NavigationItem(*navigation) if navigation else None
        self.policies: list[RoutePolicy] = []

    def read(
        self,
        path: str,
        *,
        capability: Capability,
        action: str,
        subject: Subject | None = None,
        confirmed: bool | None = None,
    ) -> Callable[[Endpoint], Endpoint]:
        """Register a page: ``action`` is logged with its subject before the endpoint runs; if it cannot be, nothing is shown."""
        return self._register(
            RoutePolicy(
                "GET",
                path,
                self.folder,
                capability,
                action,
                _needs_confirmation(capability, confirmed),
                subject or describe_path,
            )
        )

    def act(
        self, path: str, *, capability: Capability, confirmed: bool | None = None
    ) -> Callable[[Endpoint], Endpoint]:
        """Register what a form does. Its endpoint logs what it changes, in the transaction that changes it."""
        return self._register(
            RoutePolicy(
                "POST", path, self.folder, capability, None, _needs_confirmation(capability, confirmed), describe_path
            )
        )

    def public(self, path: str, *, method: str = "GET") -> Callable[[Endpoint], Endpoint]:
        """Register a route that needs no session: sign-in, static files, health. A form's target still needs its token and origin."""
        return self._register(
            RoutePolicy(method, path, self.folder, None, None, confirmed=False, subject=describe_path)
        )

    def _register(self, policy: RoutePolicy) -> Callable[[Endpoint], Endpoint]:
        self.policies.append(policy)

        async def gate(request: Request) -> PageContext:
            return await admit(request, policy)

        def register(endpoint: Endpoint) -> Endpoint:
            self.router.add_api_route(
                policy.path,
                endpoint,
                methods=[policy.method],
                dependencies=[Depends(gate)],
                response_model=None,
                name=endpoint.__name__,
            )
            return endpoint

        return register


def _needs_confirmation(capability: Capability, confirmed: bool | None) -> bool:  # noqa: FBT001 - a setting that is passed on
    return capability in CONFIRMED if confirmed is None else confirmed


def describe_path(request: Request) -> str:
    """Return the values in the request's path: ids and codes."""
    return " ".join(str(value) for value in request.path_params.values())
