"""Asking a person for what must not be seen: without echo, and only at a terminal."""

import getpass
import warnings

import typer

from schemas.errors import ConfigInvalid


def ask_hidden(what: str, *, confirm: bool = False, instead: str = "run the command at a terminal") -> str:
    """Return what a person types without echo; ``confirm`` asks twice. ``instead`` says what to do where there is no terminal.

    Raises:
        ConfigInvalid: there is no terminal, so that what is typed could be seen.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return str(typer.prompt(what, hide_input=True, confirmation_prompt=confirm, err=True))
        except getpass.GetPassWarning:
            raise ConfigInvalid(f"there is no terminal to ask at: {instead}", field="(terminal)") from None
