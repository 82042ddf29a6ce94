"""`cspace codec`: the commands. Each loads what it needs when it runs; this file stays light."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...clioutputs import AUDIO, CODED, JSON, PAGE, PNG, claim
from ...clitools import clear_errors, note, out, progress, say, say_text
from ...terminal import clean

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
#: Damage that is listed; of a file with more holes than this their number says more.
MOST_LINES = 20

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
    target: Annotated[Path | None, typer.Argument(help="By default the source's name with .csc."), CODED] = None,
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
    if target is None:
        target = beside(source, ".csc")
        claim(target)
    made = _encode(source, target, model, kbps, mono, one_pass)
    for line in made.conversions:
        note(line)
    say(f"written: {target} ({made.bytes} bytes, {made.seconds:.2f} s, {made.kbps:.2f} kbit/s)")


def beside(source: Path, suffix: str) -> Path:
    """The source's name with another suffix. Raises ParameterError for standard input, which has none."""
    from ...plugins._errors import ParameterError
    from ...standardio import STANDARD

    if str(source) == STANDARD:
        raise ParameterError(f"standard input has no name to make one from; name the {suffix} file to write")
    return source.with_suffix(suffix)


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
    target: Annotated[Path | None, typer.Argument(help="By default the source's name with .wav."), AUDIO] = None,
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

    if target is None:
        target = beside(source, ".wav")
        claim(target)
    codec = model_of(source, model)
    with progress() as bar:
        task = bar.add_task("decode", total=1.0)
        found = decode_file(
            codec, source, target, subtype=subtype, progress=lambda done: bar.update(task, completed=done)
        )
    lines = [*found.damage.notes, *found.gaps]
    for line in lines[:MOST_LINES]:
        note(line)
    if len(lines) > MOST_LINES:
        note(f"and {len(lines) - MOST_LINES} more places")
    say(f"written: {target} ({found.samples / found.sample_rate:.2f} s, {len(found.gaps)} gaps)")


@app.command("reconstruct")
@clear_errors
def reconstruct(
    source: Annotated[Path, typer.Argument(help="A sound file.")],
    target: Annotated[Path, typer.Argument(help="What the codec makes of it."), AUDIO],
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
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file."), JSON] = None,
) -> None:
    """How near a reconstruction is to its original, with rivals at the same number of bytes.

    SI-SNR rewards the waveform; Opus and MP3 aim at the ear and give the waveform up where it is not heard.

    Examples
    --------
        cspace codec fidelity song.flac --model rate16 --seconds 60
    """
    from rich.table import Table

    from ...wholefile import write_json
    from .evaluate import codec_rows, pair_row

    with progress() as bar:
        bar.add_task("fidelity", total=None)
        if reconstruction is not None:
            rows = [pair_row(original, reconstruction, seconds, speech)]
        else:
            rows = codec_rows(original, model, kbps, seconds, rivals, speech)
    spoken = any(v == v for _, _, f, _ in rows for v in (f.pesq, f.stoi))
    table = Table("", box=None, pad_edge=False)  # only names may wrap: twelve columns are wide
    heads = ("kbit/s", "SI-SNR dB", "SNR dB", "MSE", "CSpace dB", "STFT conv.", "STFT dB", "delay", "gain dB")
    for head in (*heads, *(("PESQ", "STOI") if spoken else ())):
        table.add_column(head.replace(" ", "\n"), justify="right", no_wrap=True)
    for name, rate, f, remark in rows:
        cells = [f.si_snr_db, f.snr_db, f.mse, f.cspace_nsr_db, f.stft_convergence, f.stft_log_db]
        last = [f.gain_db, *((f.pesq, f.stoi) if spoken else ())]
        text = [f"{v:.0e}" if i == 2 else f"{v:.2f}" for i, v in enumerate(cells)]
        table.add_row(
            clean(name + (f" ({remark})" if remark else "")),
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
        write_json(json, {"original": original.name, "rows": figures})
        say(f"written: {json}")


@app.command("figures")
@clear_errors
def figures(
    music: Annotated[Path, typer.Option(help="A folder of music that no model was trained on.")],
    speech: Annotated[
        list[Path] | None, typer.Option(help="A folder of such speech; may be given several times.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of the middle part taken of each file.")] = 20.0,
    music_files: Annotated[int, typer.Option(min=0, help="Files taken of the music, evenly; 0: all.")] = 0,
    speech_files: Annotated[int, typer.Option(min=1, help="Files taken of each speech folder.")] = 10,
    curve_files: Annotated[int, typer.Option(min=0, help="Pieces of music for the curve of rates; 0: no curve.")] = 8,
    page: Annotated[
        Path | None, typer.Option(help="Write the page of tables here, such as docs/codec-figures.md."), PAGE
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the curve of rates into this PNG file."), PNG] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file."), JSON] = None,
) -> None:
    """Measures the shipped models on every piece, worst first, and the curve of rates with rivals.

    Examples
    --------
        cspace codec figures --music data/recordings/music --speech data/recordings/speech/it --page figures.md
    """
    from ...wholefile import whole, write_json, write_text
    from . import figures as f

    folders = speech or []
    sets = [
        ("music", f.pick(music, music_files or None)),
        *((f"speech, {d.name}", f.pick(d, speech_files)) for d in folders),
    ]
    words = [f"--music {music}", *(f"--speech {d}" for d in folders), f"--seconds {seconds:g}"]
    words += [f"--music-files {music_files}"] if music_files else []
    words += [f"--speech-files {speech_files}", f"--curve-files {curve_files}"]
    with progress() as bar:
        task = bar.add_task("figures", total=2.0)
        pieces = f.measure(sets, seconds, tell=lambda what, done: bar.update(task, completed=done, description=what))
        rates = []
        if curve_files:
            chosen = f.pick(music, curve_files)
            rates = f.curve(
                chosen, seconds, tell=lambda what, done: bar.update(task, completed=1.0 + done, description=what)
            )
    text = f.page(pieces, rates, "cspace codec figures " + " ".join(words))
    if page is not None:
        write_text(page, text)
        say(f"written: {page}")
    if picture is not None and rates:
        with whole(picture) as part:
            f.picture(rates).savefig(part, dpi=110)
        say(f"written: {picture}")
    if json is not None:
        write_json(json, f.as_json(pieces, rates))
        say(f"written: {json}")
    if page is None:
        say_text(text)


@app.command("ablation")
@clear_errors
def ablation(
    data: Annotated[
        list[str], typer.Option("--data", help="A folder or synthetic; several with commas or by repeating it.")
    ],
    preset: Annotated[str, typer.Option(help="Whose transform and rate.")] = "phase96",
    steps: Annotated[int, typer.Option(min=1)] = 300,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, …")] = 3,
    learning_rate: Annotated[float, typer.Option(min=0.0)] = 0.01,
    threads: Annotated[int, typer.Option(min=0, help="torch's threads; 0: its own choice.")] = 0,
    page: Annotated[
        Path | None, typer.Option(help="Write the table here, such as docs/codec-ablation.md."), PAGE
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file."), JSON] = None,
) -> None:
    """Trains the codec's transform with every loss, some seeds each, and compares: form × weighting × N, and waveform.

    Examples
    --------
        cspace codec ablation --data data/recordings/speech/en,synthetic --page ablation.md
    """
    import torch

    from ...wholefile import write_json, write_text
    from . import ablation as a
    from .spec import preset as find

    if threads:
        torch.set_num_threads(threads)
    names = [part for entry in data for part in entry.split(",") if part]
    spec, base = find(preset), a.base_options(names, steps, learning_rate)
    with progress() as bar:
        task = bar.add_task("ablation", total=1.0)
        found = a.study(
            spec, base, range(seeds), tell=lambda what, done: bar.update(task, completed=done, description=what)
        )
    command = f"cspace codec ablation --data {','.join(names)} --preset {preset} --steps {steps} --seeds {seeds}"
    text = a.page(found, spec, base, f"{command} --learning-rate {learning_rate:g}")
    if page is not None:
        write_text(page, text)
        say(f"written: {page}")
    if json is not None:
        write_json(json, a.as_json(found))
        say(f"written: {json}")
    if page is None:
        say_text(text)
