"""`cspace lab spectrogram`, `drift`, `landscape` and `theory`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...clitools import clear_errors, note, say
from .cli import Config, Results, app, settings, written

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
    written(report.save(loaded, f"spectrogram_{clip.stem}_{index}", found, figure, settings=asked, notes=notes))


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
    name = f"drift_{clip.stem if clip else 'made'}"
    written(report.save(loaded, name, found, figure, settings={"clip": clip, "seconds": seconds}, notes=notes))
