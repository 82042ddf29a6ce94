"""What the standard TOML reader lacks: the lines of keys, and writing."""

from __future__ import annotations

import json
import re
from typing import Any

from .errors import ChainFileError

MOST_LEVELS = 100  # of tables in tables
_HEADER = re.compile(r"\s*\[\[\s*(?:processor|\"processor\"|'processor')\s*\]\]")
_KEY = re.compile(r"\s*(?:\"([^\"\\]*)\"|'([^']*)'|([A-Za-z0-9_-]+))\s*[.=]")


class Places:
    """Line numbers of keys, found by a plain scan: good for messages, right for ordinary files."""

    def __init__(self, text: str):
        self._headers: list[int] = []
        self._keys: dict[tuple[int, str], int] = {}  # (table, -1 for the top; key) -> line
        for number, line in enumerate(text.splitlines(), 1):
            if _HEADER.match(line):
                self._headers.append(number)
            elif key := _KEY.match(line):
                self._keys.setdefault((len(self._headers) - 1, next(g for g in key.groups() if g is not None)), number)

    def line(self, index: int | None, key: str | None) -> int | None:
        """The line of `key` in the table `index` (None: the top of the file), else of the table's header."""
        found = self._keys.get((-1 if index is None else index, key)) if key is not None else None
        if found is None and index is not None and index < len(self._headers):
            return self._headers[index]
        return found


def check_sizes(data: dict[str, Any], places: Places, file: str) -> None:
    """Raises ChainFileError, with the line, for numbers of more than 64 bits and tables in tables without end.

    They fail anywhere later: in what writes a number out, converts it, or looks through a table.
    """
    todo: list[tuple[Any, int, int | None, str | None]] = [(data, 0, None, None)]
    while todo:
        value, depth, index, key = todo.pop()
        why = "is nested too deeply" if depth > MOST_LEVELS else ""
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            why = "is a whole number of more than 64 bits"
        if why:
            line = places.line(index, key)
            raise ChainFileError(f"{file}{f', line {line}' if line else ''}: {f'{key} ' if key else ''}{why}")
        if isinstance(value, dict):
            todo += [(v, depth + 1, index, k if depth in (0, 2) else key) for k, v in value.items()]
        elif isinstance(value, list):
            of_processors = depth == 1 and key == "processor"
            todo += [(v, depth + 1, i if of_processors else index, key) for i, v in enumerate(value)]


def check_text(text: str) -> None:
    """Raises ChainFileError, with the line, for text that cannot be written as UTF-8: a path of other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError as e:
        line = text[text.rfind("\n", 0, e.start) + 1 :].partition("\n")[0]
        shown = line.encode("utf-8", "backslashreplace").decode()
        raise ChainFileError(
            f"{shown}: holds bytes that are no UTF-8, which no chain file can hold; rename the file or folder"
        ) from None


def dump_value(value: Any) -> str:
    """A bool, number, text, or a list or dict of them in TOML, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(dump_value(v) for v in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(k)} = {dump_value(v)}' for k, v in value.items())}}}"
    if isinstance(value, int):
        return str(value)
    return repr(float(value))


def dump_table(name: str, table: dict[str, Any]) -> str:
    """One `[[name]]` table; keys outside A-Z a-z 0-9 _ - are quoted."""
    lines = [f"[[{name}]]"]
    lines += [f"{_key(key)} = {dump_value(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else dump_value(key)
