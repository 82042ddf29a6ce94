"""The `cspace` command. Errors a user can mend are one line, without a traceback.

Exit codes: 0 done, 1 it failed while running, 2 something asked for is wrong.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from . import __version__
from .clitools import clear_errors, note, out, progress, say
from .export.cli import app as export_app
from .offline.codec.cli import app as codec_app
from .offline.eq.cli import app as eq_app
from .offline.index.cli import app as index_app
from .offline.ksom.cli import app as ksom_app
from .offline.lab.cli import app as lab_app
from .offline.manifold.cli import app as manifold_app
from .offline.phase0.cli import app as phase0_app
from .offline.train_cli import app as train_app

if TYPE_CHECKING:
    from .realtime import Chain, Stream
    from .realtime.ksomlive import MapPlayer
    from .realtime.osc import OscHandler

app = typer.Typer(
    name="cspace",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Real-time host for physically grounded and neural audio.",
)

app.add_typer(lab_app)
app.add_typer(export_app)
app.add_typer(eq_app)
app.add_typer(ksom_app)
app.add_typer(index_app)
app.add_typer(train_app)
app.add_typer(codec_app)
app.add_typer(manifold_app)
app.add_typer(phase0_app)


# ---- root ------------------------------------------------------------------------------------


def _show_version(on: bool) -> None:
    if on:
        typer.echo(f"cspace {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Real-time host for physically grounded and neural audio."""


ChainFile = Annotated[Path | None, typer.Argument(help="A chain file; without one, the demo's chain.")]


def _chain(path: Path | None) -> Chain:
    from .realtime.chainfile import load
    from .realtime.demo import demo_chain

    return demo_chain() if path is None else load(path)


# ---- live ------------------------------------------------------------------------------------


@app.command()
@clear_errors
def live(
    chain: ChainFile = None,
    input: Annotated[
        str | None, typer.Option("--input", "-i", help="Device name or number, audio file, or null.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Device name or number, audio file, or null.")
    ] = None,
    block: Annotated[int | None, typer.Option(help="Frames per block; by default the chain's wish, else 64.")] = None,
    sample_rate: Annotated[float | None, typer.Option(help="Hz; by default the chain's wish, else 48000.")] = None,
    channels: Annotated[int, typer.Option(help="Channels in and out.")] = 2,
    osc_port: Annotated[int, typer.Option(help="UDP port for OSC; 0 takes any free one.")] = 9000,
    osc_host: Annotated[str, typer.Option(help="Where OSC listens; 127.0.0.1 keeps other machines out.")] = "127.0.0.1",
    presets: Annotated[Path, typer.Option(help="The folder of presets.")] = Path("presets"),
    seconds: Annotated[float | None, typer.Option(help="Stop after this long.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Start an input file over at its end.")] = False,
    no_view: Annotated[bool, typer.Option("--no-view", help="No meters, only lines.")] = False,
    ksom: Annotated[
        Path | None, typer.Option(help="Play the map of this K-SOM model, before the chain if any.")
    ] = None,
    entrained: Annotated[
        bool, typer.Option("--entrained", help="With --ksom: its oscillators follow the input.")
    ] = False,
) -> None:
    """Plays a chain live, controlled by OSC. Devices and files go together in any way.

    Examples
    --------
        cspace live chain.toml

        cspace live chain.toml --input "USB Audio" --output "USB Audio" --block 128

        cspace live chain.toml --input song.wav --output out.wav

        cspace live chain.toml --input song.wav --output "USB Audio"

        cspace live chain.toml --input "USB Audio" --output take.wav

        cspace live --ksom model.json --input "USB Audio" --entrained

        oscsend localhost 9000 /chain/eq/low_gain_db f 3
    """
    from .realtime import Stream
    from .realtime.clock import Clock
    from .realtime.control import Control
    from .realtime.osc import OscHandler, OscServer
    from .realtime.oscquery import OscQueryServer
    from .realtime.stream import is_file

    if entrained and ksom is None:
        from .plugins import ParameterError

        raise ParameterError('--entrained needs --ksom MODEL; a Kuramoto of a chain file has mode = "entrained"')
    plays, walker = (_chain(chain), None) if ksom is None else _with_map(chain, ksom, entrained=entrained)
    with contextlib.ExitStack() as stack:
        source, target, again = _ports(input, output, loop, stack)
        stream = Stream(
            plays, input=source, output=target, sample_rate=sample_rate, block=block, channels=channels, loop=again
        )
        control = Control(plays, lambda: stream.engine, presets=presets, lock=stream.lock)
        clock = Clock(lambda: stream.engine.sample_time, stream.sample_rate, stream.block)
        handler = OscHandler(control, clock)
        server = OscServer(handler, osc_port, osc_host)
        stack.callback(server.close)  # if the stream does not open
        stack.enter_context(stream)
        stack.enter_context(server)
        query = stack.enter_context(OscQueryServer(handler, server.port, host=osc_host, osc_ip=osc_host))
        if walker is not None:
            stack.enter_context(walker(control, lambda: stream.engine.sample_time, stream.sample_rate))
        address = f"{server.host}:{server.port}"
        say(f"{stream.name}: OSC on {address}, OSCQuery on http://{query.host}:{query.port}/")
        _watch(stream, handler, address, seconds, view=not no_view and out.is_terminal)
    if is_file(target):
        say(f"written: {target}")


def _with_map(chain: Path | None, model: Path, *, entrained: bool) -> tuple[Chain, Callable[..., MapPlayer]]:
    """The chain with a K-SOM model's oscillators before it and a limiter after, and what walks over the map."""
    from .offline.ksom.live import LiveWalk, live_plugin
    from .offline.ksom.modelfile import load_model
    from .offline.ksom.oscillators import Performance
    from .plugins import Limiter
    from .realtime import Chain
    from .realtime.ksomlive import TICK_S, MapPlayer

    loaded, play = load_model(model), Performance()
    plays = Chain() if chain is None else _chain(chain)
    plays.insert(0, live_plugin(loaded, play, entrained=entrained), name="ksom")
    plays.append(Limiter(ceiling_db=-1.0))
    walk = LiveWalk(loaded, play, TICK_S)
    return plays, lambda control, time, rate: MapPlayer(control, "ksom", walk, time, rate)


def _ports(
    input: str | None, output: str | None, loop: bool, stack: contextlib.ExitStack
) -> tuple[str | None, str | None, bool]:
    """What plays: as asked for, or the bundled clip where there is no sound hardware."""
    from .realtime.errors import CspaceError
    from .realtime.portaudio import devices
    from .realtime.stream import is_file

    if input is not None or (output is not None and not is_file(output) and output != "null"):
        return input, output, loop
    try:
        found = devices()
    except CspaceError as e:
        note(str(e))
        found = []
    usable = any(d.inputs for d in found) and (output is not None or any(d.outputs for d in found))
    if usable and output != "null":
        return input, output, loop  # the default devices; with a file as output, a recording
    if not usable:
        note("This machine has no sound hardware: the bundled clip plays through the file device.")
    else:
        note("Without an input, the bundled clip plays to nowhere.")
    return str(_clip_file(stack)), output, loop or output is None or output == "null"


def _clip_file(stack: contextlib.ExitStack) -> Path:
    import numpy as np

    from .audiofile import Writer
    from .realtime.clip import clip

    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cspace-")), "bundled clip.wav")
    with Writer(path, 48_000, 2) as writer:
        writer.write(np.ascontiguousarray(clip().T))
    return path


def _watch(stream: Stream, osc: OscHandler, address: str, seconds: float | None, *, view: bool) -> None:
    """Until the end of the file, the time, Ctrl-C, or the loss of the device."""
    import time

    from rich.live import Live

    from .realtime import DeviceLost
    from .realtime.stream import is_file
    from .realtime.view import OrderParameter, render_view, summary

    order = OrderParameter(stream)
    ends = None if seconds is None else time.monotonic() + seconds
    picture = Live(console=out, refresh_per_second=12, transient=True, redirect_stderr=False) if view else None
    stats = stream.stats()
    try:
        with picture or contextlib.nullcontext():
            while ends is None or time.monotonic() < ends:
                wait = 0.1 if ends is None else min(0.1, max(0.0, ends - time.monotonic()))
                try:
                    if stream.wait(wait):
                        break
                except DeviceLost as e:
                    note(str(e))
                    if is_file(stream.output):
                        break  # another take would replace this one
                    _come_back(stream, ends)
                    continue
                stats = stream.stats()
                if picture is not None:
                    picture.update(render_view(stream, stats, order.read(), osc, address))
    except KeyboardInterrupt:
        pass
    if stream.running or stream.finished:
        stats = stream.stats()
    say(summary(stream, stats, osc))


def _come_back(stream: Stream, ends: float | None) -> None:
    """Reopens a lost device as soon as it is there again."""
    import time

    from .realtime import DeviceError

    note("waiting for it; Ctrl-C stops")
    while ends is None or time.monotonic() < ends:
        time.sleep(1.0)
        try:
            stream.reopen()
        except DeviceError:
            continue
        note("it is back")
        return


# ---- render ----------------------------------------------------------------------------------


@app.command()
@clear_errors
def render(
    chain: Annotated[Path, typer.Argument(help="A chain file.")],
    source: Annotated[Path, typer.Argument(metavar="IN", help="An audio file.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; its suffix chooses the format.")],
    sample_rate: Annotated[float | None, typer.Option(help="Hz the chain runs at.")] = None,
    subtype: Annotated[str | None, typer.Option(help="Sample format such as PCM_16; by default float32.")] = None,
    tail: Annotated[str, typer.Option(help="Seconds to go on after the end, or auto.")] = "0",
) -> None:
    """Renders a file through a chain, the same samples as live.

    Examples
    --------
        cspace render chain.toml in.wav out.wav

        cspace render chain.toml in.wav out.flac --tail auto
    """
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    from .realtime.chainfile import load
    from .realtime.errors import CspaceError
    from .realtime.render import render as run

    try:
        seconds: float | str = tail if tail == "auto" else float(tail)
    except ValueError:
        raise CspaceError(f"--tail {tail!r} is not allowed, use seconds or auto") from None
    plays = load(chain)
    percent = TextColumn("{task.percentage:3.0f} %")
    with progress(TextColumn("{task.description}"), BarColumn(), percent, TimeRemainingColumn()) as bar:
        task = bar.add_task(source.name, total=None)
        report = run(
            plays,
            source,
            target,
            sample_rate=sample_rate,
            subtype=subtype,
            tail=seconds,
            progress=lambda done, expected: bar.update(task, completed=done, total=max(expected, 1)),
        )
    for warning in report.warnings:
        note(warning)
    say(
        f"{target}: {report.frames / report.sample_rate:.2f} s at {report.sample_rate} Hz, peak {report.peak:.3f}, "
        f"{report.times_realtime:.0f} × real time"
    )


# ---- devices and plugins ---------------------------------------------------------------------


@app.command()
@clear_errors
def devices() -> None:
    """Lists sound devices."""
    from .realtime.portaudio import devices as listed

    found = listed()
    if not found:
        say("This machine has no sound hardware; `cspace live` plays through the file device.")
        return
    table = Table("no", "name", "API", "in", "out", "Hz", "default", box=None)
    for d in found:
        default = " ".join(w for w, on in (("input", d.default_input), ("output", d.default_output)) if on)
        table.add_row(str(d.index), d.name, d.host_api, str(d.inputs), str(d.outputs), f"{d.sample_rate:g}", default)
    out.print(table)


@app.command()
@clear_errors
def plugins(
    name: Annotated[str | None, typer.Argument(help="One processor, with all it says about itself.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table.")] = False,
) -> None:
    """Shows the processors and their parameters.

    Examples
    --------
        cspace plugins

        cspace plugins eq
    """
    from . import _native
    from .plugins import composed_by_name, hosted_by_name
    from .realtime.errors import ParameterError, near

    python_side = [*composed_by_name().values(), *hosted_by_name().values()]
    listed = {p["name"]: p for p in [*_native.processors(), *(c.info for c in python_side)]}
    if name is not None and name not in listed:
        raise ParameterError(
            f"there is no processor {name!r}{near(name, listed) or '; there are ' + ', '.join(listed)}"
        )
    chosen = [listed[name]] if name else list(listed.values())
    if markdown:
        typer.echo("\n".join(_markdown(chosen)))
        return
    for p in chosen:
        out.print(f"[bold]{p['name']}[/bold]  {p['doc']}", highlight=False)
        table = Table("parameter", "allowed", "default", *(["what it does"] if name else []), box=None, padding=(0, 2))
        for q in p["params"]:
            table.add_row(q["name"], *_range_and_default(q), *([q["doc"]] if name else []))
        if p["params"]:
            out.print(table)
        for kind in ("taps", "arrays") if name else ():
            for a in p[kind]:
                out.print(f"  {kind[:-1]} [bold]{a['name']}[/bold]: {a['doc']}", highlight=False)
        out.print()


def _range_and_default(q: Any) -> tuple[str, str]:
    from .plugins._params import allowed, number, to_python

    value = to_python(q, q["default"])
    text = str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else number(value)
    return allowed(q) + (" (set-up)" if q["setup"] else ""), text


def _markdown(chosen: list[Any]) -> Iterator[str]:
    yield "| processor | parameter | allowed | default | what it does |"
    yield "|---|---|---|---|---|"
    for p in chosen:
        for q in p["params"] or [None]:
            cells = [q["name"], *_range_and_default(q), q["doc"]] if q else ["", "", "", p["doc"]]
            yield f"| `{p['name']}` | " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


# ---- bench -----------------------------------------------------------------------------------


@app.command()
@clear_errors
def bench(
    chain: Annotated[
        Path | None, typer.Argument(help="A chain file to time; without one, the project's benchmarks.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Seconds of sound to time a chain with.")] = 10.0,
    block: Annotated[int, typer.Option(help="Frames per block.")] = 64,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds.")] = False,
) -> None:
    """Times a chain block by block, or runs the project's benchmarks from a checkout.

    Examples
    --------
        cspace bench chain.toml --block 128

        cspace bench --quick
    """
    from .realtime.demo import latency_rows, timed_run

    root = Path(__file__).resolve().parents[2]
    if chain is None and (root / "bench" / "__main__.py").is_file():
        command = [sys.executable, "-m", "bench", *(["--quick"] if quick else [])]
        raise typer.Exit(subprocess.run(command, cwd=root, check=False).returncode)
    stats, rate = timed_run(_chain(chain), seconds, block)
    table = Table("", "p50 µs", "p99 µs", "p99.9 µs", "max µs", "p99 of deadline", box=None)
    for row in latency_rows(stats, block, rate):
        table.add_row(*row)
    out.print(table)


def main() -> None:
    """Run the command line."""
    app(prog_name="cspace")
