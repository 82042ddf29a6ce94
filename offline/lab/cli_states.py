"""`cspace lab spectrogram`, `drift`, `landscape` and `theory`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...clioutputs import PAGE, SECTION
from ...clitools import clear_errors, note, say, say_text
from .cli import Config, Results, app, reserve, settings, written

Clip = Annotated[Path, typer.Argument(help="A recording, of any length, rate and number of channels.")]


@app.command()
@clear_errors
def spectrogram(
    clip: Clip,
    index: Annotated[int, typer.Argument(help="The sample, counted at the settings' sample rate.")],
    esn: Annotated[bool, typer.Option("--esn/--no-esn", help="With the echo state network's nodes.")] = True,
    config: Config = None,
    results: Results = None,
) -> None:
    """What the bank (both directions) and the echo state network see around a sample.

    Examples
    --------
        cspace lab spectrogram voice.flac 48000
    """
    from . import report
    from .spectrogram import study

    loaded = settings(config, results)
    name = reserve(loaded, f"spectrogram_{clip.stem}_{index}")
    found, figure, notes = study(clip, index, loaded, esn=esn)
    for line in notes:
        note(f"{clip}: {line}")
    say(f"strongest at the sample: forward {found['forward_strongest_hz']:.0f} Hz, "
        f"backward {found['backward_strongest_hz']:.0f} Hz")  # fmt: skip
    say(f"bank: run-in {found['bank_ring_in_samples']} samples, within {found['bank_bound']:.1e} of the whole run")
    if esn:
        say(f"network: spectral radius {found['esn_radius']:.6f}, run-in {found['esn_run_in_samples']} samples, "
            f"within {found['esn_bound']:.1e} of the whole run")  # fmt: skip
    asked = {"clip": clip, "index": index, "esn": esn}
    written(report.save(loaded, name, found, figure, settings=asked, notes=notes))


@app.command()
@clear_errors
def drift(
    clip: Annotated[
        Path | None, typer.Argument(help="A recording, played again and again; without one, made noise and tones.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long, 60 s at least.")] = 3600.0,
    esn: Annotated[bool, typer.Option("--esn/--no-esn", help="The echo state network too.")] = True,
    config: Config = None,
    results: Results = None,
) -> None:
    """Whether the streaming states drift away from float64 over an hour, and how the network forgets.

    A control that must fail runs beside it: the same recursion with its poles rounded to float32.

    Examples
    --------
        cspace lab drift --seconds 600
        cspace lab drift voice.flac
    """
    from . import report
    from .drift_study import study

    loaded = settings(config, results)
    file = reserve(loaded, f"drift_{clip.stem if clip else 'made'}")
    found, figure, notes = study(clip, seconds, loaded, esn=esn)
    for line in notes:
        note(line)
    say(f"reference: matrix form and scipy.signal.lfilter agree within {found['reference_check']:.1e}")
    say(f"{'':34}{'60 s':>10}{'end':>10}{'largest':>10}{'worst state':>13}  against {found['target']:g}")
    rows = {"rust": "bank, Rust float32", "float32_poles": "control, poles rounded to float32"}
    for name, words in (rows | ({"esn": "network, Rust float32"} if esn else {})).items():
        r = found[name]
        say(f"{words:34}{r['vector_at_60_s']:10.1e}{r['vector_last']:10.1e}{r['vector_largest']:10.1e}"
            f"{r['worst_oscillator_largest']:13.1e}  {r['verdict']}")  # fmt: skip
    if esn:
        r = found["esn"]
        say(f"network: achieved spectral radius {r['achieved_radius']:.6f}, largest state {r['largest_state']:.3f}; "
            f"compared over {r['compared_s']:.0f} s; the reference's own start is worth "
            f"{r['reference_run_in_effect']:.1e}")  # fmt: skip
        say("forgetting, from opposite corners (time constant; share of the distance left at the end):")
        for row in found["forgetting"]:
            parts = []
            for name in ("sound", "silence"):
                constant = row[f"time_constant_s_{name}"]
                slow = "forgets, " + (f"{constant:.2f} s" if constant else "too fast to time")
                words = slow if row[f"forgets_{name}"] else "does not forget"
                parts.append(f"{name}: {words} ({row[f'last_share_{name}']:.0e})")
            say(f"  radius {row['achieved_radius']:.4f}   {'   '.join(parts)}")
    written(report.save(loaded, file, found, figure, settings={"clip": clip, "seconds": seconds}, notes=notes))


@app.command()
@clear_errors
def landscape(
    clips: Annotated[list[Path], typer.Argument(help="Recordings or folders; positions are spread evenly over them.")],
    positions: Annotated[int, typer.Option(help="Windows compared, held out of the tuning.")] = 50,
    noise_db: Annotated[float, typer.Option(help="Noise of the changed copy, dB below the window.")] = 20.0,
    same: Annotated[bool, typer.Option("--same", help="The same samples instead of a changed copy.")] = False,
    window: Annotated[int, typer.Option(help="Samples compared.")] = 4096,
    tuning: Annotated[int, typer.Option(help="Further windows on which a bank is chosen; 0: no tuning.")] = 20,
    magnitudes: Annotated[bool, typer.Option(help="Try magnitudes of states in the tuning too (slower).")] = True,
    page: Annotated[
        Path | None, typer.Option(help="A Markdown page whose marked section gets the tables."), SECTION
    ] = None,
    config: Config = None,
    results: Results = None,
) -> None:
    """Loss and true gradient along a time shift: from how far away each criterion points home.

    Examples
    --------
        cspace lab landscape data/recordings/speech data/recordings/music
    """
    from . import report
    from .landscape_study import Asked, study, tables
    from .markdown import put_section

    loaded = settings(config, results)
    asked = Asked(clips, positions, None if same else noise_db, window, tuning, magnitudes)
    name = reserve(loaded, "landscape_" + "_".join(c.stem for c in clips) + ("_same" if same else ""))
    found, figure, notes = study(asked, loaded)
    for line in notes[1:]:
        note(line)
    if found["tried"]:
        say(f"banks on {len(found['tuning_positions'])} tuning positions, best first (of {len(found['tried'])}):")
        for r in found["tried"][:5]:
            say(f"  {r['part']:10} Q {r['q']:<4g} from {r['low_hz']:<3g} Hz, weight f^-{r['tilt']:g}: "
                f"reach {r['reach_samples']:g}, first failure {r['first_failure_median']:g}")  # fmt: skip
    title = f"{len(found['positions'])} held-out positions, {window} samples at {loaded.sample_rate} Hz; {notes[0]}."
    text = f"{title}\n\n{tables(found)}"
    say_text(text)
    asked_for = {
        "clips": [c.name for c in clips],
        "positions": positions,
        "noise_db": asked.noise_db,
        "window": window,
        "tuning": tuning,
        "magnitudes": magnitudes,
    }
    written(report.save(loaded, name, found, figure, settings=asked_for, notes=notes))
    if page:
        put_section(page, "landscape-same" if same else "landscape", text)
        written([page])


@app.command()
@clear_errors
def theory(
    page: Annotated[Path | None, typer.Option(help="Write the page to this file too."), PAGE] = None,
    config: Config = None,
    results: Results = None,
) -> None:
    """What is shown about CSpace and what is only claimed, every statement with a check made now.

    Examples
    --------
        cspace lab theory
        cspace lab theory --page docs/theory.md
    """
    from rich.markdown import Markdown

    from ...clitools import fail, out
    from ...wholefile import write_text
    from . import report
    from .theory import study

    loaded = settings(config, results)
    reserve(loaded, "theory", picture=False)
    text, found = study(loaded)
    out.print(Markdown(text))
    if page:
        write_text(page, text)
        written([page])
    written(report.save(loaded, "theory", found))
    if not found["all_hold"]:
        bad = [name for name, check in found["checks"].items() if not check["holds"]]
        fail(f"theory: these checks fail with this bank: {', '.join(bad)}", 1)
