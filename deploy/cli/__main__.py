"""``python -m deploy.cli``: the ``safelane`` command where it is not installed on the path."""

from deploy.cli import main

main()
