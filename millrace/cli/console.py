"""Rich's console, without its own way to end the program."""

from __future__ import annotations

from typing import NoReturn

import rich.console


class Console(rich.console.Console):
    """A console that raises when nobody reads any more, where rich's exits with 1."""

    def on_broken_pipe(self) -> NoReturn:
        """Raises the error again, for `output.outliving_reader`."""
        raise BrokenPipeError
