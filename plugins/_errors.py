"""Errors a user can cause and mend. The command line prints them as one line, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CspaceError(Exception):
    """Base of every error whose message tells the user what to change."""

    #: What the command line leaves with: 2 for something wrong in what was asked for, 1 for what
    #: broke while running.
    exit_code = 2


class ParameterError(CspaceError, ValueError):
    """A parameter, array or tap has no such name, or cannot take the value."""


class AudioError(CspaceError, ValueError):
    """Audio of a shape, type or rate that cannot be processed."""


class CspaceWarning(UserWarning):
    """Sound was not what was asked for, and goes on: samples that were no numbers, a processor that gave such."""


class FileError(CspaceError, OSError):
    """A file cannot be read or written; the message names the file and the reason."""

    def __str__(self) -> str:  # OSError would print its arguments as a tuple
        return str(self.args[0]) if self.args else ""


class MissingExtraError(CspaceError, ImportError):
    """An optional package is needed; the message says how to install it."""


def refused(x: float, *limits: float) -> str:
    """A refused number with as many digits as tell it from the limits beside it: 24.000002, not 24."""
    for digits in range(7, 18):
        text = f"{x:.{digits}g}"
        if all(text != f"{limit:.{digits}g}" or x == limit for limit in limits):
            break
    return text


def near(word: str, names: Iterable[str]) -> str:
    """Names like `word`, as the end of a sentence: `; did you mean 'x' or 'y'?`; empty if there are none.

    `word` itself is never one of them: it is what was refused.
    """
    found = difflib.get_close_matches(word, [n for n in dict.fromkeys(names) if n != word], n=3, cutoff=0.55)
    return f"; did you mean {' or '.join(repr(n) for n in found)}?" if found else ""
