"""Commands whose modules are loaded when they are used, so that `photochanger --help` stays quick."""

from importlib import import_module
from typing import Any

import rich_click as click


class Deferred(click.RichCommand):
    """Stands for the command or group `COMMAND` of a module, which is imported when it is called."""

    def __init__(self, name: str, *, module: str, help: str) -> None:  # noqa: A002 - click's own name
        super().__init__(name=name, help=help)
        self._module = module

    def load(self) -> click.Command:
        """Return the command itself."""
        command: click.Command = import_module(self._module).COMMAND
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of the command itself; so it is what runs, and what shows its help."""
        return self.load().make_context(info_name, args, parent, **extra)
