"""What commands take alike: a chain file as an argument."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..realtime import Chain

ChainFile = Annotated[Path | None, typer.Argument(help="A chain file; without one, the demo's chain.")]


def chain_of(path: Path | None) -> Chain:
    """The chain of a file, or the demo's where none is named."""
    from ..realtime.chainfile import load
    from ..realtime.demo import demo_chain

    return demo_chain() if path is None else load(path)
