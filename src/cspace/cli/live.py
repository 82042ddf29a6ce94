"""`cspace live`: a chain played through devices and files, controlled by OSC."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..clioutputs import PORT
from ..clitools import clear_errors, complain, note, out, say
from .common import ChainFile, chain_of
from .signals import Request, listening
from .watch import Watch, tell

if TYPE_CHECKING:
    from ..realtime import Chain
    from ..realtime.errors import CspaceError
    from ..realtime.ksomlive import MapPlayer


@clear_errors
def live(
    chain: ChainFile = None,
    input: Annotated[
        str | None,
        typer.Option("--input", "-i", help="Device name or number, audio file (- for standard input), or null."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Device name or number, audio file, or null."), PORT
    ] = None,
    block: Annotated[int | None, typer.Option(help="Frames per block; by default the chain's wish, else 64.")] = None,
    sample_rate: Annotated[float | None, typer.Option(help="Hz; by default the chain's wish, else 48000.")] = None,
    follow_rate: Annotated[
        bool, typer.Option("--follow-rate", help="Play at the device's rate where it refuses the other.")
    ] = False,
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

    Ctrl-C ends it, as do SIGTERM, SIGHUP, SIGQUIT and a closed terminal: the sound fades out, and a
    recording is complete up to the last block. Exit code 0 for an end that was asked for (Ctrl-C, --seconds,
    the end of the file), 128 + the signal's number for other signals, 1 for a device or disk that failed;
    docs/recording.md lists them all. `cspace recover` saves the recording of a killed process.

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
    if entrained and ksom is None:
        from ..plugins import ParameterError

        raise ParameterError('--entrained needs --ksom MODEL; a Kuramoto of a chain file has mode = "entrained"')
    plays, walker = (chain_of(chain), None) if ksom is None else _with_map(chain, ksom, entrained=entrained)
    with listening() as request:
        done = _play(
            request,
            plays,
            walker,
            input=input,
            output=output,
            loop=loop,
            settings={"sample_rate": sample_rate, "block": block, "channels": channels, "follow_rate": follow_rate},
            presets=presets,
            osc=(osc_host, osc_port),
            seconds=seconds,
            view=not no_view and out.is_terminal,
        )
    raise typer.Exit(done)


def _play(
    request: Request,
    plays: Chain,
    walker: Callable[..., MapPlayer] | None,
    *,
    input: str | None,
    output: str | None,
    loop: bool,
    settings: dict[str, Any],
    presets: Path,
    osc: tuple[str, int],
    seconds: float | None,
    view: bool,
) -> int:
    """Until it ends; returns the exit code. What can fail while it closes is told after all is closed."""
    import sys
    from ipaddress import ip_address

    from ..audiofile.parts import left_over
    from ..realtime import Stream
    from ..realtime.clock import Clock
    from ..realtime.control import Control
    from ..realtime.errors import CspaceError
    from ..realtime.osc import OscHandler, OscServer
    from ..realtime.oscquery import OscQueryServer
    from ..realtime.stream import is_file
    from ..realtime.transfer import named

    sys.setswitchinterval(0.0005)  # OSC waits that long for a preset or the view, at each packet, where 5 ms is usual
    failed: CspaceError | None = None
    watch: Watch | None = None
    with request.in_order():
        try:
            with contextlib.ExitStack() as stack:
                source, target, again = _ports(input, output, loop, stack)
                if target is not None and is_file(target) and (cut_off := left_over(target)):
                    tell(cut_off)
                stream = Stream(plays, input=source, output=target, loop=again, **settings)
                format = lambda: (stream.sample_rate, stream.channels)  # noqa: E731
                control = Control(plays, lambda: stream.engine, presets=presets, lock=stream.lock, format=format)
                clock = Clock(lambda: stream.engine.sample_time, stream.sample_rate, stream.block)
                handler = OscHandler(control, clock)
                server = OscServer(handler, osc[1], osc[0])
                stack.callback(server.close)  # if the stream does not open
                stack.enter_context(stream)
                clock.retune(stream.sample_rate)
                stack.enter_context(server)
                query = stack.enter_context(OscQueryServer(handler, server.port, host=osc[0], osc_ip=server.address))
                if not ip_address(server.address).is_loopback:
                    tell(
                        f"OSC on {server.address} is open to the network: whoever reaches this machine can move the "
                        "chain, and load and save presets; see docs/security.md"
                    )
                if walker is not None:
                    stack.enter_context(walker(control, lambda: stream.engine.sample_time, stream.sample_rate))
                address = f"{server.host}:{server.port}"
                tell(f"{stream.name}: OSC on {address}, OSCQuery on {query.url}", say)
                back = lambda: clock.retune(stream.sample_rate)  # noqa: E731
                watch = Watch(stream, handler, address, request, seconds, view, back)
                watch.run()
        except CspaceError as e:
            if watch is None:
                raise  # nothing has played yet
            failed = e
        except Exception as e:
            if watch is None:
                raise
            failed = named(e, "the stream")
        failed = failed or (None if watch is None else watch.failed)
        for line in stream.warnings:
            tell(line)
        return _ended(request, target if is_file(target) else None, failed)


def _ended(request: Request, target: str | None, failed: CspaceError | None) -> int:
    """Says how it ended, after everything is closed; the exit code."""
    from ..audiofile import TakeError

    if target is not None and not isinstance(failed, TakeError):
        tell(f"written: {target}", say)
    if failed is not None:
        tell(str(failed), complain)
        return 1
    if request.exit_code and request.by is not None:
        tell(f"stopped by {request.by.name}")
    return request.exit_code


def _with_map(chain: Path | None, model: Path, *, entrained: bool) -> tuple[Chain, Callable[..., MapPlayer]]:
    """The chain with a K-SOM model's oscillators before it and a limiter after, and what walks over the map."""
    from ..offline.ksom.live import LiveWalk, live_plugin
    from ..offline.ksom.modelfile import load_model
    from ..offline.ksom.oscillators import Performance
    from ..plugins import Limiter
    from ..realtime import Chain
    from ..realtime.ksomlive import TICK_S, MapPlayer

    loaded, play = load_model(model), Performance()
    plays = Chain() if chain is None else chain_of(chain)
    plays.insert(0, live_plugin(loaded, play, entrained=entrained), name="ksom")
    plays.append(Limiter(ceiling_db=-1.0))
    walk = LiveWalk(loaded, play, TICK_S)
    return plays, lambda control, time, rate: MapPlayer(control, "ksom", walk, time, rate)


def _ports(
    input: str | None, output: str | None, loop: bool, stack: contextlib.ExitStack
) -> tuple[str | None, str | None, bool]:
    """What plays: as asked for, or the bundled clip where there is no sound hardware."""
    from ..realtime.errors import CspaceError
    from ..realtime.portaudio import devices
    from ..realtime.stream import is_file

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

    from ..audiofile import Writer
    from ..realtime.clip import clip

    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cspace-")), "bundled clip.wav")
    with Writer(path, 48_000, 2) as writer:
        writer.write(np.ascontiguousarray(clip().T))
    return path
