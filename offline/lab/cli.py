"""`cspace lab`: the commands. Each loads what it needs when it runs; this file stays light."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...clioutputs import FOLDER, claim
from ...clitools import clear_errors, say, say_text

if TYPE_CHECKING:
    from ..config import LabConfig

app = typer.Typer(
    name="lab",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Studies of the coordinate systems: each leaves a picture and a JSON, from one settings file.",
)

Config = Annotated[Path | None, typer.Option("--config", "-c", help="Settings (TOML); without it, the defaults.")]
Results = Annotated[
    Path | None, typer.Option("--results", "-r", help="Folder for pictures and JSON, over the settings'."), FOLDER
]


def settings(config: Path | None, results: Path | None) -> LabConfig:
    """The settings file, with the results folder replaced where one is given."""
    from ..config import load_config

    loaded = load_config(config)
    return loaded if results is None else loaded.model_copy(update={"results": results})


def reserve(loaded: LabConfig, name: str, *, picture: bool = True) -> str:
    """The name of a study's files, which may be written: to be called before the work."""
    claim(*(loaded.results / f"{name}{suffix}" for suffix in ([".png"] if picture else []) + [".json"]))
    return name


def written(paths: list[Path]) -> None:
    """Says where the files are."""
    for path in paths:
        say(f"written: {path}")


@app.command("config")
@clear_errors
def show_config(config: Config = None) -> None:
    """Prints all settings as TOML: the defaults, or those of a file, checked.

    Examples
    --------
        cspace lab config > lab.toml
    """
    from ..config import to_toml

    say_text(to_toml(settings(config, None)).rstrip())


from . import cli_search, cli_states, cli_transform  # noqa: E402, F401  their commands join `app`
