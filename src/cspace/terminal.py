"""Text for terminals: of any encoding, and with nothing in it that moves the cursor.

A name may hold anything: escape sequences, line breaks, bytes that are no UTF-8, or what `rich` takes
for markup. All of it is shown, none of it acts. Thread: control.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
from typing import Any

#: Control characters, those that turn the direction of writing, and bytes of a name that are no UTF-8.
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
#: Columns or lines; a number above it would have tables padded to that width.
_LARGEST = 10_000
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

#: For terminals that cannot show these. Others are shown by their code, such as \xe9.
_PLAIN = {
    "→": "->", "←": "<-", "×": "x", "−": "-", "–": "-", "—": "-", "…": "...", "·": ".", "•": "*", "µ": "u", "μ": "u",
    "°": " deg", "≈": "~", "≤": "<=", "≥": ">=", "±": "+/-", "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'",
    "\u00a0": " ", "\u2011": "-", "─": "-", "━": "-", "═": "=", "╌": "-", "╸": "-", "╺": "-", "│": "|", "┃": "|",
    "║": "|", "❯": ">", "✓": "ok", "⠀": " ", "▁": "_", " ": " ",
}  # fmt: skip


def clean(text: str, *, lines: bool = False) -> str:
    r"""The text with every control character shown instead of sent: `\x1b`, `\n`; and with `\xff` for a byte.

    With `lines`, line breaks and tabs stay what they are.
    """

    def shown(found: re.Match[str]) -> str:
        c = found.group()
        if lines and c in "\n\t":
            return c
        code = ord(c)
        if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a name
            code -= 0xDC00
        return _SHORT.get(c) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")

    return _UNSHOWN.sub(shown, text)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    out = []
    for c in error.object[error.start : error.end]:
        code = ord(c)
        if c in _PLAIN:
            out.append(_PLAIN[c])
        elif 0x2500 <= code < 0x2580:
            out.append("+")  # corners and crossings of boxes
        elif 0x2580 <= code < 0x25A0:
            out.append("#")  # bars
        elif 0x2800 <= code < 0x2900:
            out.append("*")  # what turns while one waits
        else:
            out.append(clean(c) if _UNSHOWN.match(c) else c.encode("ascii", "backslashreplace").decode())
    return "".join(out), error.end


codecs.register_error("cspace", _plain)


def forget_odd_sizes() -> None:
    """Takes COLUMNS and LINES out of the environment where they are no positive number: a width of 0 shows nothing."""
    for name in ("COLUMNS", "LINES"):
        size = os.environ.get(name, "1")
        if not (size.isascii() and size.isdigit() and 0 < int(size[:9]) < _LARGEST):
            del os.environ[name]


def prepare_streams() -> None:
    """Makes standard output and error take any text. Called once, before anything is written.

    A stream that was closed leads to nowhere from here on, so that no sound file gets its number and
    is written into by what prints.
    """
    forget_odd_sizes()
    opened = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    while opened < 3:
        opened = os.open(os.devnull, os.O_RDWR)
    os.close(opened)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  open as long as the process
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="cspace")


def json_text(data: Any, encoding: str | None = None) -> str:
    r"""JSON that is JSON on a terminal of this encoding too: what it cannot show is written as `\uXXXX`."""
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(encoding or getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeError, LookupError):
        return json.dumps(data, indent=2, allow_nan=False)
    return text
