"""A model played live: patterns on the map, the walk over it, OSC, and what follows the input."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner

from cspace.cli import app
from cspace.offline.ksom import modelfile as mf
from cspace.offline.ksom import pipeline as pl
from cspace.offline.ksom.live import LiveWalk, layers, live_plugin
from cspace.offline.ksom.oscillators import Performance
from cspace.realtime.chain import Chain
from cspace.realtime.control import Control
from cspace.realtime.ksomlive import HOLD_S, TICK_S, MapPlayer
from cspace.realtime.osc import OscHandler, encode
from cspace.realtime.stream import Stream

from . import clips

PLAY = Performance(perturb=0.0)
RATE = 48_000


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> mf.Model:
    """Two tracks: the melody, and a chord far below it."""
    folder = tmp_path_factory.mktemp("album")
    song = clips.write(folder / "song.wav", clips.melody(2))
    low = np.concatenate([clips.plucked(clips.hz(n), 0.5) for n in ("A2", "E3") * 6])
    sources = [song, clips.write(folder / "low.wav", low)]
    return pl.train_map(pl.analyse(sources, mf.Settings())[0], 7)


def note_powers(x: np.ndarray, model: mf.Model) -> dict[str, float]:
    """Power of each note of the model in a sound, at its own frequency."""
    x = x * np.hanning(len(x))
    t = np.arange(len(x)) / RATE
    return {n.name: float(abs(np.exp(-2j * np.pi * n.freq_hz * t) @ x) ** 2) for n in model.notes}


# ---- the map -----------------------------------------------------------------------------------


def test_every_place_sounds_and_a_used_node_sounds_like_its_steps(album: mf.Model) -> None:
    patterns = layers(album)
    m = album.require_map()
    assert patterns.shape == (2, m.rows, m.columns, len(album.notes))
    assert (np.linalg.norm(patterns, axis=-1) > 0).all()
    for t, track in enumerate(album.tracks):
        levels = album.note_levels(t)
        for node in set(track.path):
            mean = levels[np.array(track.path) == node].mean(axis=0)
            here = patterns[t].reshape(-1, len(album.notes))[node]
            assert mean @ here > 0.999 * np.linalg.norm(mean) * np.linalg.norm(here)


def test_position_and_morph_choose_what_is_heard(album: mf.Model) -> None:
    """The strongest note heard at a node is the one its steps have; the other layer is the other track's."""
    m = album.require_map()
    settings = PLAY.model_copy(update={"harmonics": 1, "voices": 1})
    plugin = live_plugin(album, settings)
    plugin.update(level=np.ones(len(album.notes), np.float32))
    names = [n.name for n in album.notes]
    for morph, track in ((0.0, 0), (1.0, 1)):
        path = np.array(album.tracks[track].path)
        for node in (path[2], path[9], path[-3]):
            row, column = divmod(int(node), m.columns)
            plugin.update(map_x=column / (m.columns - 1), map_y=row / (m.rows - 1), morph=morph)
            y = plugin(np.zeros((1, 2 * RATE), np.float32), sample_rate=RATE)[0, RATE:]
            heard = note_powers(y, album)
            wanted = album.note_levels(track)[path == node].mean(axis=0)
            assert max(heard, key=lambda n: heard[n]) == names[int(wanted.argmax())]


# ---- the walk ----------------------------------------------------------------------------------


def test_the_walk_keeps_the_tempo_and_stays_where_it_is_held(album: mf.Model) -> None:
    walk = LiveWalk(album, PLAY, TICK_S)
    rows, columns = album.require_map().rows, album.require_map().columns
    moves, peak, floor = [], 0.0, 1.0
    for k in range(2000):  # 20 s
        level, place = walk.tick(morph=0.0, perturb=0.0, held=None)
        peak, floor = max(peak, level), min(floor, level)
        if place is not None:
            moves.append((k, place))
    steps = 20.0 * walk.tempo_bpm / 60.0 * album.settings.steps_per_beat
    assert abs(len(moves) - steps) <= 2
    assert 0.5 < peak <= 1.0
    assert 0.0 <= floor < 0.4 * peak  # the rhythm is heard
    nodes = [round(y * (rows - 1)) * columns + round(x * (columns - 1)) for _, (x, y) in moves]
    assert set(nodes) <= set(album.tracks[0].path)  # morph 0: the first track alone
    for _ in range(300):
        _, place = walk.tick(morph=0.0, perturb=0.0, held=(0.3, 0.6))
        assert place is None
    nodes = [walk.tick(morph=1.0, perturb=0.0, held=None)[1] for _ in range(1500)]
    last = [p for p in nodes if p is not None][-10:]
    other = {divmod(n, columns) for n in album.tracks[1].path}
    assert {(round(y * (rows - 1)), round(x * (columns - 1))) for x, y in last} <= other


# ---- live --------------------------------------------------------------------------------------


@pytest.fixture
def rig(album: mf.Model) -> Iterator[tuple[MapPlayer, Control, OscHandler, list[int]]]:
    """A stream on the null device; the player's clock is the test's, so that nothing depends on the machine."""
    chain = Chain()
    chain.insert(0, live_plugin(album, PLAY), name="ksom")
    with Stream(chain, input="null") as stream:
        control = Control(chain, lambda: stream.engine, lock=stream.lock)
        now = [0]
        player = MapPlayer(control, "ksom", LiveWalk(album, PLAY, TICK_S), lambda: now[0], stream.sample_rate)
        yield player, control, OscHandler(control), now


def _pass(player: MapPlayer, now: list[int], seconds: float) -> None:
    for _ in range(round(seconds / 0.05)):
        now[0] += round(0.05 * RATE)
        player.follow()


def test_osc_holds_the_map_and_the_walk_goes_on_from_there(
    rig: tuple[MapPlayer, Control, OscHandler, list[int]],
) -> None:
    player, control, osc, now = rig

    def place() -> tuple[float, float]:
        return float(control.get("ksom", "map_x")), float(control.get("ksom", "map_y"))

    seen = set()
    for _ in range(40):
        _pass(player, now, 0.1)
        seen.add(place())
    assert len(seen) > 5, "the walk moves the position"
    assert not player.held
    replies: list[tuple[str, list[object]]] = []
    for name, value in (("map_x", 0.9), ("map_y", 0.1), ("morph", 1.0), ("perturb", 0.4), ("ratio_coupling", 3.0)):
        osc.handle(encode(f"/chain/ksom/{name}", [value]), lambda a, args: replies.append((a, args)))
        assert control.get("ksom", name) == pytest.approx(value)
    assert osc.errors == 0, replies
    _pass(player, now, HOLD_S - 0.5)
    assert player.held
    assert place() == pytest.approx((0.9, 0.1))
    _pass(player, now, 2.0)
    assert not player.held
    assert place() != pytest.approx((0.9, 0.1))


def test_a_long_pause_is_skipped_and_a_short_one_made_up_for(
    rig: tuple[MapPlayer, Control, OscHandler, list[int]],
) -> None:
    player, _, _, now = rig
    player.follow()
    tick = round(TICK_S * RATE)
    now[0] += 7 * tick
    assert player.follow() == 7
    assert player.follow() == 0
    now[0] += 6000 * tick
    assert player.follow() == 1


def test_live_from_a_model_file_into_a_file(album: mf.Model, tmp_path: Path) -> None:
    mf.save_model(tmp_path / "model.json", album)
    clips.write(tmp_path / "in.wav", np.zeros(4 * RATE, np.float32), RATE)
    args = ["live", "--ksom", tmp_path / "model.json", "-i", tmp_path / "in.wav", "-o", tmp_path / "out.wav"]
    done = CliRunner().invoke(app, [*map(str, args), "--osc-port", "0", "--no-view"])
    assert done.exit_code == 0, done.output
    y, rate = sf.read(tmp_path / "out.wav")
    assert rate == RATE
    assert np.sqrt(np.mean(y[RATE:] ** 2)) > 0.01
    assert abs(y).max() <= 10 ** (-1 / 20)
    heard = note_powers(y[RATE:, 0], album)
    off = np.exp(-2j * np.pi * 1234.5 * np.arange(len(y) - RATE) / RATE) * np.hanning(len(y) - RATE)
    assert max(heard.values()) > 1e3 * abs(off @ y[RATE:, 0]) ** 2  # notes, not noise


def test_entrained_oscillators_follow_what_is_played(tmp_path: Path) -> None:
    """A tone 12 Hz above the model's note: free oscillators stay, entrained ones go there, quiet without it."""
    source = clips.write(tmp_path / "a.wav", clips.tone(440.0, 3.0))
    model = pl.train_map(pl.analyse([source], mf.Settings())[0], 7)
    tone = clips.tone(452.0, 3.0, RATE)[None]

    def heard(entrained: bool, x: np.ndarray) -> tuple[float, float]:
        settings = PLAY.model_copy(update={"harmonics": 1, "voices": 1})
        plugin = live_plugin(model, settings, entrained=entrained)
        plugin.update(level=np.ones(1, np.float32))
        y = plugin(x, sample_rate=RATE)[0, RATE:]
        bins = np.fft.rfftfreq(1 << 19, 1 / RATE)
        k = np.abs(np.fft.rfft(y * np.hanning(len(y)), 1 << 19)).argmax()
        return float(bins[k]), float(np.sqrt(np.mean(y**2)))

    free, _ = heard(False, tone)
    held, loud = heard(True, tone)
    _, quiet = heard(True, np.zeros_like(tone))
    # A spectrum's bin is 0.09 Hz.
    assert abs(free - 440.0) < 1.0
    assert abs(held - 452.0) < 0.5
    assert quiet < 0.7 * loud


def test_what_is_wrong_is_one_line(album: mf.Model, tmp_path: Path) -> None:
    bare = album.model_copy(update={"map": None, "tracks": [t.model_copy(update={"path": []}) for t in album.tracks]})
    mf.save_model(tmp_path / "bare.json", bare)
    for args, words in (
        (["--ksom", str(tmp_path / "none.json")], "none.json: there is no such file"),
        (["--ksom", str(tmp_path / "bare.json")], "has no map yet"),
        (["--entrained"], "--entrained needs --ksom"),
    ):
        done = CliRunner().invoke(app, ["live", *args, "-i", "null", "--osc-port", "0", "--seconds", "0.1"])
        assert done.exit_code in (1, 2), done.output
        assert words in done.output
        assert len(done.output.strip().splitlines()) == 1, done.output


def test_the_thread_plays_while_the_stream_does(album: mf.Model) -> None:
    chain = Chain()
    chain.insert(0, live_plugin(album, PLAY), name="ksom")
    with Stream(chain, input="null") as stream:
        control = Control(chain, lambda: stream.engine, lock=stream.lock)
        walk = LiveWalk(album, PLAY, TICK_S)
        with MapPlayer(control, "ksom", walk, lambda: stream.engine.sample_time, stream.sample_rate):
            first = control.get("ksom", "map_x"), control.get("ksom", "map_y")
            ends = time.monotonic() + 60.0
            while time.monotonic() < ends and (control.get("ksom", "map_x"), control.get("ksom", "map_y")) == first:
                time.sleep(0.05)
            assert (control.get("ksom", "map_x"), control.get("ksom", "map_y")) != first
