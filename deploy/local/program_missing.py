"""What is said when a program of the distribution is missing and may not be installed: one line, the command included."""

from schemas.errors import ConfigInvalid


class ProgramMissing(ConfigInvalid):
    """A program is not on this machine, and who runs us may not install it. ``detail`` is the whole message."""

    code = "program-missing"
    public_message = "A program is missing on this machine. Install it and start again."
