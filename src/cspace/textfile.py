"""Text files as editors and systems write them: UTF-8 with or without a mark, lines ended in any way.

Thread: control.
"""

from __future__ import annotations

import codecs
import os

from .plugins._errors import FileError
from .regularfile import read_bytes
from .standardio import NAME, STANDARD, read_standard_text

#: A text that a program wrote is hardly larger; a wrong file may be.
MOST_BYTES = 256 * 1024 * 1024
#: The same for settings, which a person wrote.
MOST_SETTINGS_BYTES = 16 * 1024 * 1024

# The longer mark first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_text(
    path: str | os.PathLike[str],
    *,
    most_bytes: int = MOST_BYTES,
    strict: bool = True,
) -> str:
    """The text in a file: UTF-8, its mark (BOM) taken off, every end of a line as a line feed.

    `-` stands for standard input. Without `strict`, bytes that are not UTF-8
    become U+FFFD. Raises FileError for a file that cannot be read, is no regular one, is larger than
    `most_bytes`, or is not UTF-8: then it names the byte.
    """
    if os.fspath(path) == STANDARD:
        return decode(read_standard_text(most_bytes), NAME, strict=strict)
    return decode(read_bytes(path, most_bytes), os.fspath(path), strict=strict)


def shown(name: str | os.PathLike[str]) -> str:
    r"""A file name as text that terminals and JSON take: a byte that is no text as `\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def decode(data: bytes, name: str, *, strict: bool = True) -> str:
    """The text that `data` holds; `name` stands for the file in errors. Raises FileError."""
    for mark, words in _MARKS:
        if data.startswith(mark):
            raise FileError(f"{name}: is text in {words}; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig", "strict" if strict else "replace")
    except UnicodeDecodeError as e:
        at = e.start + (len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0)
        raise FileError(
            f"{name}: is not text in UTF-8: byte 0x{data[at]:02x} at offset {at} (line "
            f"{data.count(10, 0, at) + 1}); save it as UTF-8"
        ) from None
    if "\0" in text:
        odd, even = data[1::2].count(0), data[0::2].count(0)
        if 4 * max(odd, even) >= len(data):  # every other byte of Latin text, and there is no mark
            raise FileError(f"{name}: looks like text in UTF-16; save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")
