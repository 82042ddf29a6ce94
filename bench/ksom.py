"""K-SOM's oscillators and synthesis against the original's listing, run as it is written."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile as sf

from cspace.offline.ksom import modelfile as mf
from cspace.offline.ksom import pipeline as pl
from cspace.offline.ksom.oscillators import Performance
from cspace.offline.ksom.score import Score, Voices, perform
from cspace.offline.ksom.synth import Renderer
from cspace.realtime.clip import clip

from .common import Row, race
from .ksom_listing import Oscillator, System, generate

TARGET_RATIO, TARGET_S = 1000.0, 1.0


def score(notes: int, seconds: float, voices: int) -> Score:
    """Steps at 120 beats a minute in which all notes sound, so that nothing is left out."""
    steps = int(seconds * 8) + 4
    level = [round(1000 / notes**0.5)] * notes
    return Score(
        play=Performance(seconds=seconds, voices=voices),
        tempo_bpm=120.0,
        steps_per_beat=4,
        tracks=["bench"],
        voices=Voices(
            notes_hz=np.geomspace(110.0, 1760.0, notes).tolist(),
            names=[str(k) for k in range(notes)],
            levels={"0": level},
            gain_db={"0": 0.0},
        ),
        node=[0] * steps,
        track=[0] * steps,
        strike=[0.5] * steps,
    )


def run(quick: bool) -> Iterator[Row]:
    rounds = 3 if quick else 7
    for oscillators in (5, 32):
        seconds = 10.0 if quick else 60.0
        voices = 2 if oscillators % 2 == 0 else 1
        piece = score(oscillators // voices, seconds, voices)
        listed_s = 0.5 if oscillators == 5 else 0.1
        freq = np.geomspace(110.0, 1760.0, oscillators)

        def ours(piece: Score = piece) -> float:
            renderer = Renderer(*perform(piece), piece.play, trace_every=0)
            start = time.process_time()
            for _ in renderer.blocks():
                pass
            return time.process_time() - start

        def listing(freq: np.ndarray = freq, listed_s: float = listed_s) -> float:
            system = System([Oscillator(float(f), 0.05) for f in freq])
            start = time.process_time()
            system.evolve(listed_s)
            system.synthesise()
            return time.process_time() - start

        steps = (seconds * piece.play.sample_rate * oscillators, listed_s * 1000 * oscillators)
        r = race(ours, listing, work=steps, rounds=rounds)
        yield Row(
            bench="ksom",
            what=f"{oscillators} oscillators: coupled, stereo, {piece.play.harmonics} harmonics, limited",
            unit="ns/osc-step",
            ours=r.ours,
            rival_name="the original's listing",
            rival=r.rival,
            ratio=r.ratio,
            spread=r.spread,
            target=f">= {TARGET_RATIO:.0f}x",
            met=r.ratio >= TARGET_RATIO,
            how=f"{r.how}, CPU time",
            extra={"ours, million steps/s": 1e3 / r.ours, "listing, steps/s": 1e9 / r.rival},
        )
        cost = r.ours * 1e-9 * 60 * piece.play.sample_rate * oscillators
        yield Row(
            bench="ksom",
            what=f"60 s at 48 kHz with {oscillators} oscillators",
            unit="s CPU",
            ours=cost,
            target=f"<= {TARGET_S:g} s",
            met=cost <= TARGET_S,
        )
    yield whole(10.0 if quick else 60.0, 3)


def whole(seconds: float, rounds: int) -> Row:
    """Recording to file, both with the original's five bands; ours has 48 times its samples, in stereo."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "clip.wav"), Path(folder, "out.wav")
        sf.write(source, clip().T, 48_000)

        def ours() -> float:
            start = time.process_time()
            model, _ = pl.analyse([source], mf.Settings(mode="bands"))
            pl.synthesise(pl.compose(model, Performance(seconds=seconds, mode="bands")), target)
            return time.process_time() - start

        def listing() -> float:
            start = time.process_time()
            with contextlib.suppress(NameError):
                generate(System(), source, target, seconds)
            return time.process_time() - start

        # Per second of sound that is in the file: the original writes 22 times less than it was asked for.
        r = race(ours, listing, work=(seconds, int(seconds * 1000) / 22_050), rounds=rounds)
    return Row(
        bench="ksom",
        what=f"whole program, {seconds:g} s asked for from a clip of {clip().shape[1] / 48_000:g} s, bands",
        unit="ms/s of sound",
        ours=r.ours / 1e6,
        rival_name="the original's listing",
        rival=r.rival / 1e6,
        ratio=r.ratio,
        spread=r.spread,
        how=f"{r.how}, CPU time; ours with tempo, tuning and notes besides",
    )
