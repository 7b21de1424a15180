"""Keeps the progress messages of libraries out of the step's log."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def suppressed() -> Iterator[None]:
    """Drops printed text, warnings, and log messages below the level of an error."""
    before = logging.root.manager.disable
    said = io.StringIO()
    logging.disable(logging.WARNING)
    try:
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
