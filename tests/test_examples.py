"""Every command shown to a user is one: in README and docs, and under Examples in the help texts."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cspace.cli import app

ROOT = Path(__file__).resolve().parent.parent
COMMAND: Any = typer.main.get_command(app)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:cspace|make) [^`\n]+)`")


def of_page(page: Path) -> Iterator[str]:
    text = page.read_text(encoding="utf-8")
    for language, block in FENCE.findall(text):
        if language in ("", "sh"):
            yield from block.replace("\\\n", " ").split("\n")
    yield from INLINE.findall(FENCE.sub("", text))


def of_help(command: Any) -> Iterator[str]:
    yield from (command.help or "").split("\n")
    for sub in getattr(command, "commands", {}).values():
        yield from of_help(sub)


def shown() -> list[tuple[str, str]]:
    """(where, command) of each line that starts with `cspace` or `make`."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    lines = [(page.name, line) for page in pages for line in of_page(page)]
    lines += [("help text", line) for line in of_help(COMMAND)]
    parts = {(where, p.strip()) for where, line in lines for p in re.split(r";|&&|>", line.partition("#")[0])}
    return sorted((where, p) for where, p in parts if re.match(r"(cspace|make) \S", p))


def parse(words: list[str]) -> None:
    """Goes through commands and options as the shell's line would, without running any."""
    command, name, args, above = COMMAND, words[0], words[1:], None
    while True:
        above = command.make_context(name, args, parent=above)
        if not hasattr(command, "commands"):
            return
        rest = [*above._protected_args, *above.args]
        if not rest:
            return
        name, args = rest[0], rest[1:]
        command = command.get_command(above, name)
        assert command is not None, f"there is no command {name!r}"


def test_there_are_some() -> None:
    where = {page for page, _ in shown()}
    assert {"README.md", "help text"} <= where


@pytest.mark.parametrize(("where", "line"), shown())
def test_is_a_command(where: str, line: str) -> None:
    # Placeholders as usage lines have them: a number is what every type takes.
    words = ["1" if re.fullmatch(r"\[?[A-Z]+\]?…?", word) else word for word in shlex.split(line)]
    if words[0] == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        assert {w for w in words[1:] if "=" not in w} <= targets
        return
    try:
        parse(words)
    except Exception as stop:
        named_only = type(stop).__name__ == "MissingParameter"  # "see `cspace lab search`"
        if not named_only and getattr(stop, "exit_code", 1) != 0:  # 0: --help and the like
            pytest.fail(f"{where}: {line}: {stop}")
