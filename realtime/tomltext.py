"""What the standard TOML reader lacks: the lines of keys, and writing."""

from __future__ import annotations

import json
import re
from typing import Any

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
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
