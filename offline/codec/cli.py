"""`cspace codec`: the commands. Each loads what it needs when it runs; this file stays light."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...clitools import clear_errors, note, out, progress, say

if TYPE_CHECKING:
    from .files import Encoded

app = typer.Typer(
    name="codec",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="The codec: sound to .csc files and back, and how much is lost.",
)

Model = Annotated[str, typer.Option("--model", "-m", help="A shipped model or preset, a folder, or a model file.")]
Kbps = Annotated[
    float | None, typer.Option(min=0.5, max=2000.0, help="kbit/s for each channel; by default the preset's.")
]
Mono = Annotated[bool, typer.Option("--mono", help="Average the channels to one.")]
OnePass = Annotated[bool, typer.Option("--one-pass", help="Do not look ahead over the whole file for the rate.")]


@app.command("models")
@clear_errors
def list_models() -> None:
    """Lists the models that come with the package."""
    from .codec import ALIASES, load, models

    for name in models():
        spec = load(name).spec
        also = ", ".join(k for k, v in ALIASES.items() if v == name)
        say(
            f"{name}: {spec.kbps:g} kbit/s, {spec.sample_rate} Hz, hop {spec.hop}, algorithmic latency "
            f"{1000 * spec.latency_samples / spec.sample_rate:.1f} ms" + (f"; also as {also}" if also else "")
        )


@app.command("encode")
@clear_errors
def encode(
    source: Annotated[Path, typer.Argument(help="A sound file of any rate and number of channels.")],
    target: Annotated[Path | None, typer.Argument(help="By default the source's name with .csc.")] = None,
    model: Model = "rate24",
    kbps: Kbps = None,
    mono: Mono = False,
    one_pass: OnePass = False,
) -> None:
    """Encodes a sound file to .csc.

    Examples
    --------
        cspace codec encode song.flac --model rate24 --kbps 16
    """
    target = target or source.with_suffix(".csc")
    made = _encode(source, target, model, kbps, mono, one_pass)
    for line in made.conversions:
        note(line)
    say(f"written: {target} ({made.bytes} bytes, {made.seconds:.2f} s, {made.kbps:.2f} kbit/s)")


def _encode(source: Path, target: Path, model: str, kbps: float | None, mono: bool, one_pass: bool) -> Encoded:
    from .codec import load, rate_of
    from .files import encode_file

    codec = load(model)
    with progress() as bar:
        task = bar.add_task("encode", total=1.0)
        return encode_file(
            codec,
            source,
            target,
            kbps=rate_of(model, codec) if kbps is None else kbps,
            mono=mono,
            one_pass=one_pass,
            progress=lambda done: bar.update(task, completed=done),
        )


@app.command("decode")
@clear_errors
def decode(
    source: Annotated[Path, typer.Argument(help="A .csc file, whole or damaged.")],
    target: Annotated[Path | None, typer.Argument(help="By default the source's name with .wav.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="By default the shipped model the file names by its hash.")
    ] = None,
    subtype: Annotated[str | None, typer.Option(help="libsndfile's name, such as PCM_16.")] = None,
) -> None:
    """Decodes a .csc file. Damaged places become silence and are reported; the rest plays.

    Examples
    --------
        cspace codec decode song.csc song.wav
    """
    from .files import decode_file, model_of

    codec = model_of(source, model)
    target = target or source.with_suffix(".wav")
    with progress() as bar:
        task = bar.add_task("decode", total=1.0)
        found = decode_file(
            codec, source, target, subtype=subtype, progress=lambda done: bar.update(task, completed=done)
        )
    for line in [*found.damage.notes, *found.gaps]:
        note(line)
    say(f"written: {target} ({found.samples / found.sample_rate:.2f} s, {len(found.gaps)} gaps)")


@app.command("reconstruct")
@clear_errors
def reconstruct(
    source: Annotated[Path, typer.Argument(help="A sound file.")],
    target: Annotated[Path, typer.Argument(help="What the codec makes of it.")],
    model: Model = "rate24",
    kbps: Kbps = None,
    mono: Mono = False,
    one_pass: OnePass = False,
) -> None:
    """Encodes and decodes: what a listener would get, through real bytes.

    Examples
    --------
        cspace codec reconstruct song.flac song_8k.wav --model rate8
    """
    from .codec import load
    from .files import decode_file

    with tempfile.TemporaryDirectory(prefix="cspace-codec-") as folder:
        part = Path(folder) / "x.csc"
        made = _encode(source, part, model, kbps, mono, one_pass)
        decode_file(load(model), part, target)
    for line in made.conversions:
        note(line)
    say(f"written: {target} ({made.kbps:.2f} kbit/s)")


@app.command("fidelity")
@clear_errors
def fidelity(
    original: Annotated[Path, typer.Argument(help="The sound as it was.")],
    reconstruction: Annotated[
        Path | None, typer.Argument(help="The sound as it came back; without it, the codec makes one.")
    ] = None,
    model: Model = "rate24",
    kbps: Kbps = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Only the first seconds.")] = None,
    rivals: Annotated[bool, typer.Option(help="Opus, MP3, GSM, a band-limited copy and FSQ at as many bytes.")] = True,
    speech: Annotated[bool, typer.Option("--speech", help="PESQ and STOI, where installed.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
) -> None:
    """How near a reconstruction is to its original, with rivals at the same number of bytes.

    SI-SNR rewards the waveform; Opus and MP3 aim at the ear and give the waveform up where it is not heard.

    Examples
    --------
        cspace codec fidelity song.flac --model rate16 --seconds 60
    """
    from rich.table import Table

    from ...wholefile import write_json
    from ..lab.report import finite
    from .evaluate import codec_rows, pair_row

    with progress() as bar:
        bar.add_task("fidelity", total=None)
        if reconstruction is not None:
            rows = [pair_row(original, reconstruction, seconds, speech)]
        else:
            rows = codec_rows(original, model, kbps, seconds, rivals, speech)
    table = Table(
        "",
        "kbit/s",
        "SI-SNR dB",
        "SNR dB",
        "MSE",
        "CSpace dB",
        "STFT conv.",
        "STFT dB",
        "delay",
        "gain dB",
        "PESQ",
        "STOI",
        box=None,
    )
    for name, rate, f, remark in rows:
        cells = [f.si_snr_db, f.snr_db, f.mse, f.cspace_nsr_db, f.stft_convergence, f.stft_log_db]
        last = [f.gain_db, f.pesq, f.stoi]
        text = [f"{v:.2e}" if i == 2 else f"{v:.2f}" for i, v in enumerate(cells)]
        table.add_row(
            name + (f" ({remark})" if remark else ""),
            "" if rate is None else f"{rate:.2f}",
            *text,
            str(f.delay_samples),
            *("" if v != v else f"{v:.2f}" for v in last),
        )
    out.print(table)
    for line in dict.fromkeys(line for _, _, f, _ in rows for line in f.notes):
        note(line)
    if json is not None:
        figures = [{"name": n, "kbps": r, "remark": m, **vars(f)} for n, r, f, m in rows]
        write_json(json, {"original": original.name, "rows": finite(figures)})
        say(f"written: {json}")
