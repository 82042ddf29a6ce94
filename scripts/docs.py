"""Writes the parts of docs/ that are made by code: the processor reference, and pictures at a size for a page.

    .venv/bin/python scripts/docs.py [--picture demo/picture.png [--into docs/images/NAME.png]]

`tests/test_docs.py` fails when the reference no longer says what the compiled core says.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from cspace import _native
from cspace.plugins import composed_by_name, hosted_by_name
from cspace.plugins._params import allowed, number, to_python

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "processors.md"
PICTURE = ROOT / "docs" / "images" / "demo.png"
PICTURE_WIDTH = 1100  # pixels: readable on a page, a few hundred kB

HEAD = """# Processors

What each processor does, and its parameters, taps and arrays. Made by `scripts/docs.py` from the compiled
core, where they are declared; `cspace plugins NAME` shows the same in a terminal. *Set-up* parameters
rebuild the processor and cross-fade to it; all others move while it plays.
"""


def reference() -> str:
    """The whole page."""
    parts = [HEAD]
    python_side = [*composed_by_name().values(), *hosted_by_name().values()]
    for info in [*_native.processors(), *(c.info for c in python_side)]:
        parts += [f"\n## {info['name']}\n\n{info['doc']}\n", *table(info)]
        for title, things in (("Taps", info["taps"]), ("Arrays", info["arrays"])):
            if things:
                parts.append(f"\n{title}:\n")
                parts += [f"- `{t['name']}`{_live(t)}: {t['doc']}" for t in things]
    return "\n".join(parts) + "\n"


def table(info: _native.ProcessorInfo) -> Iterator[str]:
    """One row per parameter."""
    if not info["params"]:
        return
    yield "| parameter | allowed | default | what it does |"
    yield "|---|---|---|---|"
    for q in info["params"]:
        value = to_python(q, q["default"])
        default = str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else number(value)
        cells = [f"`{q['name']}`", allowed(q) + (", *set-up*" if q["setup"] else ""), default, q["doc"]]
        yield "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def _live(thing: object) -> str:
    return " (live)" if isinstance(thing, dict) and thing.get("live") else ""


def shrink(source: Path, target: Path) -> None:
    """A picture at a size for a page."""
    from PIL import Image

    with Image.open(source) as image:
        height = round(image.height * PICTURE_WIDTH / image.width)
        small = image.convert("RGB").resize((PICTURE_WIDTH, height), Image.Resampling.LANCZOS)
        small.quantize(192, dither=Image.Dither.NONE).save(target, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="a picture, such as that of `make demo` for the README")
    parser.add_argument("--into", type=Path, default=PICTURE, help="where that goes (default: the README's)")
    args = parser.parse_args()
    REFERENCE.write_text(reference(), encoding="utf-8")
    if args.picture:
        shrink(args.picture, args.into)


if __name__ == "__main__":
    main()
