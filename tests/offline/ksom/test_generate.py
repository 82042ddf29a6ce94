"""From a recording to a piece: length, level, seeds, pitch, order, coupling, and what is wrong with a source."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
from typer.testing import CliRunner

from cspace.cli import app
from cspace.offline.config import ConfigError
from cspace.offline.ksom import modelfile as mf
from cspace.offline.ksom import pipeline as pl
from cspace.offline.ksom.oscillators import Performance
from cspace.offline.ksom.score import compose, load_score, perform, save_score
from cspace.offline.ksom.som import best_nodes, features
from cspace.offline.ksom.synth import Renderer, write_sound
from cspace.offline.ksom.walk import Nodes, Walk, transitions
from cspace.plugins import AudioError, ParameterError

from . import clips

SETTINGS = mf.Settings()


def model_of(path: Path) -> mf.Model:
    return pl.train_map(pl.analyse([path], SETTINGS)[0], 7)


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.write(tmp_path_factory.mktemp("song") / "song.wav", clips.melody())


@pytest.fixture(scope="module")
def model(song: Path) -> mf.Model:
    return model_of(song)


def play(model: mf.Model, **settings: object) -> np.ndarray:
    score = compose(model, Performance(**{"seconds": 8.0, "sample_rate": 24_000, "channels": 1, **settings}))
    return np.concatenate(list(Renderer(*perform(score), score.play).blocks()), axis=1)


def strongest_hz(x: np.ndarray, rate: int, low: float = 30.0, high: float = 10_000.0) -> float:
    """The strongest partial, by a parabola through a long spectrum's peak."""
    size = 1 << 18
    db = np.log(np.maximum(np.abs(np.fft.rfft(x * np.hanning(len(x)), size)), 1e-12))
    bins = np.fft.rfftfreq(size, 1 / rate)
    db[(bins < low) | (bins > high)] = -99.0
    k = int(db.argmax())
    a, b, c = db[k - 1 : k + 2]
    return float((k + 0.5 * (a - c) / (a - 2 * b + c)) * rate / size)


def cents(a: float, b: float) -> float:
    return float(1200 * np.log2(a / b))


# ---- what was asked for ----------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "channels", "seconds"), [(48_000, 2, 2.5), (22_050, 1, 1.2345), (96_000, 3, 1.0)])
def test_length_rate_and_channels_are_exact_and_peaks_stay_below_the_ceiling(
    model: mf.Model, tmp_path: Path, rate: int, channels: int, seconds: float
) -> None:
    options = {"seconds": seconds, "sample_rate": rate, "channels": channels, "level_db": 0.0, "harmonics": 8}
    score = compose(model, Performance(**options))
    sound = pl.synthesise(score, tmp_path / "a.wav")
    info = sf.info(tmp_path / "a.wav")
    assert (info.frames, info.samplerate, info.channels) == (round(seconds * rate), rate, channels)
    x, _ = sf.read(tmp_path / "a.wav", always_2d=True)
    assert np.isfinite(x).all()
    peak = np.abs(soxr.resample(x, rate, 16 * rate, quality="VHQ")).max()
    print(f"true peak {20 * np.log10(peak):.3f} dBTP at an asked level of 0 dB RMS, which is {sound.rms_db} dB")
    assert 10 ** (-3 / 20) < peak <= 10 ** (-1 / 20)
    assert abs(x[-1]).max() < 1e-3  # no click at the end


def test_the_seed_decides_every_byte(model: mf.Model, tmp_path: Path) -> None:
    def made(name: str, seed: int) -> bytes:
        score = compose(model, Performance(seconds=3.0, seed=seed))
        pl.synthesise(score, tmp_path / name)
        return (tmp_path / name).read_bytes()

    first = made("a.wav", 7)
    time.sleep(1.1)  # float WAV files of libsndfile carry the second they were made in, unless told not to
    assert first == made("b.wav", 7)
    assert first != made("c.wav", 8)
    a, c = (compose(model, Performance(seconds=30.0, seed=s)).node for s in (7, 8))
    assert a != c  # other music, not only other phases


def test_a_score_in_a_file_plays_the_same(model: mf.Model, tmp_path: Path) -> None:
    mf.save_model(tmp_path / "model.json", model)
    assert mf.load_model(tmp_path / "model.json") == model
    score = compose(model, Performance(seconds=2.0))
    save_score(tmp_path / "score.json", score)
    again = load_score(tmp_path / "score.json")
    assert again == score
    for name, s in (("a.wav", score), ("b.wav", again)):
        pl.synthesise(s, tmp_path / name)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


# ---- pitch and order -------------------------------------------------------------------------


def test_a_440_hz_tone_gives_a_440_hz_partial(tmp_path: Path) -> None:
    m = model_of(clips.write(tmp_path / "a.wav", clips.tone(440.0, 4.0)))
    assert [n.name for n in m.notes] == ["A4"]
    x = play(m)[0]
    print(f"{cents(strongest_hz(x, 24_000), 440.0):+.2f} cents")
    # Five cents are what an ear tells at best; 2.3 seen, of the analysis' bins.
    assert abs(cents(strongest_hz(x, 24_000), 440.0)) < 5.0


def test_two_tones_give_both(tmp_path: Path) -> None:
    both = clips.tone(330.0, 4.0) + clips.tone(523.25, 4.0)
    m = model_of(clips.write(tmp_path / "a.wav", both))
    x = play(m, harmonics=1)[0]
    low, high = strongest_hz(x, 24_000, 250, 420), strongest_hz(x, 24_000, 420, 800)
    print(f"{cents(low, 330.0):+.2f} and {cents(high, 523.25):+.2f} cents")
    # Two tones lie in each other's skirts: 1.6 cents seen.
    assert abs(cents(low, 330.0)) < 10.0
    assert abs(cents(high, 523.25)) < 10.0
    power = np.abs(np.fft.rfft(x)) ** 2
    hz = np.fft.rfftfreq(len(x), 1 / 24_000)
    near = sum(power[abs(hz - f) < 15].sum() for f in (330.0, 523.25))
    assert near > 0.9 * power.sum()


def heard_notes(x: np.ndarray, rate: int) -> list[str]:
    """The strongest of the melody's notes in each tenth of a second, repeats taken out."""
    width = rate // 5
    names = []
    for start in range(0, len(x) - width, rate // 10):
        part = x[start : start + width] * np.hanning(width)
        power = [abs(np.exp(-2j * np.pi * clips.hz(n) * np.arange(width) / rate) @ part) for n in clips.MELODY]
        names.append(clips.MELODY[int(np.argmax(power))])
    return [n for n, before in zip(names, [None, *names], strict=False) if n != before]


def test_the_order_of_a_melody_survives(model: mf.Model) -> None:
    follows = dict(zip(clips.MELODY, clips.MELODY[1:] + clips.MELODY[:1], strict=True))

    def share(names: list[str]) -> float:
        return float(np.mean([follows[a] == b for a, b in itertools.pairwise(names)]))

    names = heard_notes(play(model, seconds=30.0)[0], 24_000)
    assert len(names) > 30
    rng = np.random.default_rng(0)
    chance = [share(list(rng.permutation(names))) for _ in range(200)]
    print(f"{share(names):.2f} of the successions are the melody's; shuffled {np.mean(chance):.2f}")
    assert share(names) > 0.6
    assert share(names) > np.mean(chance) + 5 * np.std(chance)


# ---- coupling --------------------------------------------------------------------------------


def test_coupling_is_heard_and_seen(model: mf.Model, tmp_path: Path) -> None:
    def made(coupling: float) -> tuple[np.ndarray, float, float]:
        score = compose(model, Performance(seconds=10.0, coupling=coupling, sample_rate=24_000, channels=1))
        sound = write_sound(Renderer(*perform(score), score.play), tmp_path / "a.wav")
        late = slice(30, None)
        return (
            sf.read(tmp_path / "a.wav")[0],
            float(np.mean(sound.trace.note_r[late])),
            float(np.mean(sound.trace.locking[late])),
        )

    (x, r_free, lock_free), (y, r_held, lock_held) = made(0.0), made(1.5)
    away = np.linalg.norm(x - y) / np.linalg.norm(x)
    print(f"r {r_free:.2f} → {r_held:.2f}, locking {lock_free:.2f} → {lock_held:.2f}, distance {away:.2f} of the sound")
    assert r_held > r_free + 0.1
    assert lock_held > lock_free + 0.3
    assert away > 0.3


@pytest.mark.parametrize(("coupling", "locked"), [(0.95, False), (1.05, True)])
def test_two_voices_lock_at_the_border(tmp_path: Path, coupling: float, locked: bool) -> None:
    from cspace.offline.ksom.oscillators import pitch_bank

    settings = Performance(coupling=coupling, perturb=0.0, detune_cents=4.0)
    bank = pitch_bank([440.0], settings)
    core = bank.processor(48_000, 1, seed=1, coupling=coupling)
    quiet = np.zeros((1, 4800), np.float32)
    core.process(np.zeros((1, 480_000), np.float32))
    last, moved = np.subtract(*core.tap("phases_rad")), 0.0
    for _ in range(200):
        core.process(quiet)
        now = np.subtract(*core.tap("phases_rad"))
        moved += (now - last + np.pi) % (2 * np.pi) - np.pi
        last = now
    # Locked phases stand still, free ones turn some ten times: nothing lies between.
    assert (abs(moved) < 0.05) == locked, f"{moved / 2 / np.pi:.2f} turns in 20 s"


# ---- map and walk ----------------------------------------------------------------------------


def test_the_map_beats_an_untrained_one_and_the_table_is_the_paths(model: mf.Model) -> None:
    q = model.require_map().quality
    print(q)
    assert q.quantisation_error < 0.5 * q.untrained_quantisation_error
    weights = np.array(model.require_map().weights).reshape(16, 32, -1)
    assert best_nodes(weights, features(model)[0]).tolist() == model.tracks[0].path
    rows = transitions(model)
    assert sum(n for _, _, n in rows) == len(model.tracks[0].path) - 1
    followed = {(a, b) for a, b, _ in rows}
    starts = {model.tracks[0].path[0]}
    walk = Walk(model, seed=3)
    nodes = [walk.next().node for _ in range(300)]
    assert all((a, b) in followed or b in starts for a, b in itertools.pairwise(nodes))


def test_a_short_piece_is_like_the_whole(tmp_path: Path) -> None:
    """Two sections without a common note, 3 to 1: a short walk may miss one; what is composed has both."""
    rows = [("C4", "E4", "G4", "C5"), ("C4", "E4", "G4", "C5"), ("C4", "E4", "G4", "C5"), ("F#4", "A#4", "C#5", "F#5")]
    music = np.concatenate([clips.plucked(clips.hz(n), 0.5) for row in rows for n in row * 3])
    m = model_of(clips.write(tmp_path / "a.wav", music))
    nodes = Nodes(m)
    whole = nodes.levels[m.tracks[0].path].sum(axis=0)

    def likeness(steps: list[int]) -> float:
        return float(np.corrcoef(nodes.levels[steps].sum(axis=0), whole)[0, 1])

    composed = [likeness(compose(m, Performance(seconds=8.0, seed=s)).node) for s in range(6)]
    single = []
    for s in range(6):
        walk = Walk(m, seed=s, perturb=0.1)
        single.append(likeness([walk.next().node for _ in range(64)]))
    print(f"one walk {np.mean(single):.2f} ({min(single):.2f} and more), composed {np.mean(composed):.2f}")
    # 0.98 against 0.83; walks of seeded numbers on a map that is trained in float64.
    assert np.mean(composed) > np.mean(single) + 0.02
    assert min(composed) > min(single)


def test_an_album_has_one_map_and_weights_choose_its_tracks(song: Path, tmp_path: Path) -> None:
    other = clips.write(tmp_path / "other.wav", clips.tone(196.0, 3.0) + clips.tone(247.0, 3.0))
    album = pl.train_map(pl.analyse([song, other], SETTINGS)[0], 7)
    assert [t.name for t in album.tracks] == ["song.wav", "other.wav"]
    for weights, wanted in (([1.0, 0.0], {0}), ([0.0, 1.0], {1})):
        score = compose(album, Performance(seconds=10.0, perturb=0.0, track_weights=weights))
        assert set(score.track) == wanted
    assert set(compose(album, Performance(seconds=60.0)).track) == {0, 1}
    with pytest.raises(ParameterError, match="3 track weights are given; the model has 2 tracks"):
        compose(album, Performance(track_weights=[1.0, 1.0, 1.0]))


# ---- the original's mode ---------------------------------------------------------------------


def test_bands_mode_sounds_at_its_mean_frequencies_for_as_long_as_asked(tmp_path: Path) -> None:
    both = clips.tone(110.0, 3.0) + clips.tone(350.0, 3.0)
    source = clips.write(tmp_path / "a.wav", both)
    model, _ = pl.analyse([source], mf.Settings(mode="bands"))
    bands = model.tracks[0].bands
    assert [b.name for b in bands] == ["bass", "low_mid"]
    assert all(0 < b.coupling <= 0.1 for b in bands)
    x = play(model, mode="bands", harmonics=1, seconds=4.0)[0]
    assert len(x) == 96_000  # the original made 0.18 s of this, 22 times too high
    for band in bands:
        found = strongest_hz(x, 24_000, band.freq_hz - 40, band.freq_hz + 40)
        assert abs(cents(found, band.freq_hz)) < 5.0
    # The original's bin centres: within half a bin of the tones.
    # A bin.
    assert abs(bands[0].freq_hz - 110.0) < 22_050 / 2048
    grid = pl.grid_of(model, "block")
    assert (len(grid), {len(row) for row in grid}) == (16, {32})


# ---- sources that are odd or wrong -----------------------------------------------------------


def test_odd_sources_have_a_clear_end(tmp_path: Path) -> None:
    rate = clips.RATE
    for name, x, match in (
        ("silence", np.zeros(rate * 2, np.float32), "is silent"),
        ("short", clips.tone(440, 0.1), r"lasts 0\.100 s; at least 0\.2 s"),
        ("steady", np.full(rate, 0.5, np.float32), "no spectral peak|is silent"),
    ):
        with pytest.raises(AudioError, match=match):
            pl.analyse([clips.write(tmp_path / f"{name}.wav", x)], SETTINGS)
    half = model_of(clips.write(tmp_path / "half.wav", clips.tone(440, 0.5)))
    assert play(half, seconds=1.0).shape == (1, 24_000)


def test_stereo_at_96_khz_reads_like_mono(tmp_path: Path) -> None:
    mono = clips.plucked(440.0, 2.0, 96_000)
    path = clips.write(tmp_path / "a.wav", np.stack([mono, mono], axis=1), 96_000)
    model, _ = pl.analyse([path], SETTINGS)
    track = model.tracks[0]
    assert track.conversions == ["resampled from 96000 to 22050 Hz", "2 channels averaged to one"]
    assert abs(cents(next(n.freq_hz for n in model.notes if n.name == "A4"), 440.0)) < 5.0


def test_errors_at_the_command_line_are_one_line(tmp_path: Path, model: mf.Model) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    mf.save_model(tmp_path / "m.json", model)
    bare = model.model_copy(update={"map": None, "tracks": [t.model_copy(update={"path": []}) for t in model.tracks]})
    mf.save_model(tmp_path / "bare.json", bare)
    out = str(tmp_path / "o.wav")
    for args, words in (
        (["generate", str(text), "-o", out], "cannot be read as audio"),
        (["generate", str(tmp_path / "none.wav"), "-o", out], "there is no such file"),
        (["generate", str(text), "-o", out, "--mode", "loud"], "mode is 'loud'"),
        (["generate", str(text), "-o", out, "--seconds", "-1"], "seconds is -1"),
        (["generate", str(text), "-o", out, "--weights", "a,b"], "--weights 'a,b' is not allowed"),
        (["generate", str(text), "-o", str(text)], "is the input"),
        (["evolve", str(text), "-o", f"{out}.json"], "is not JSON"),
        (["evolve", str(tmp_path / "bare.json"), "-o", f"{out}.json"], "has no map yet"),
        (["synthesise", str(tmp_path / "m.json"), "-o", out], "is not a K-SOM score"),
        (["grid", str(tmp_path / "m.json"), "-o", f"{out}.json", "--grid", "square"], "--grid 'square' is not allowed"),
    ):
        result = CliRunner().invoke(app, ["ksom", *args])
        assert result.exit_code in (1, 2), (args, result.output)
        assert words in result.output, (args, result.output)
        assert len(result.output.strip().splitlines()) == 1, result.output
        assert not Path(out).exists()


def test_a_damaged_model_is_named(model: mf.Model, tmp_path: Path) -> None:
    data = model.model_dump(mode="json")
    data["tracks"][0]["path"][3] = 9999
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=r"a\.json: the path of track 'song.wav' names a node outside the map"):
        mf.load_model(tmp_path / "a.json")
    data["tracks"][0]["tempo_bpm"] = -3
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=r"a\.json: tracks\.0\.tempo_bpm is -3"):
        mf.load_model(tmp_path / "a.json")
