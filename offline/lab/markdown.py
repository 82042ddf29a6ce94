"""Tables for people: on the terminal, and in the sections of a page that commands write themselves."""

from __future__ import annotations

from pathlib import Path

from ...plugins._errors import FileError
from ...textfile import read_text
from ...wholefile import write_text


def table(lines: list[list[str]]) -> str:
    """A Markdown table of a header and rows."""
    head, *rows = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *rows])


def plain(lines: list[list[str]]) -> str:
    """The same in columns of even width."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def put_section(path: Path, name: str, text: str) -> None:
    """Puts `text` between `<!-- name:begin -->` and `<!-- name:end -->` of a page; a page that is not there is made.

    Raises FileError for a page that has no such section, so that nothing written by hand is lost.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    if not path.exists():
        write_text(path, section + "\n")
        return
    page = read_text(path)
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise FileError(f"{path}: has no section {begin} … {end} to write into")
    write_text(path, before + section + after)
