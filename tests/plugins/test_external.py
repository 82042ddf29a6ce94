"""Plugins from elsewhere: probed, held to their lengths, and their failures named."""

import sys
from typing import Any

import numpy as np
import pytest

from cspace.plugins import CspaceError
from cspace.plugins.external import external_name, external_params, is_external, load_vst3, set_external
from cspace.plugins.externalstage import External
from cspace.realtime import Chain, chainfile

RATE = 48_000


class Odd:
    """Works for `good` calls, then does `then`."""

    def __init__(self, then: Any, good: int = 20):
        self.then, self.good, self.calls = then, good, 0

    def reset(self) -> None:
        self.calls = 0

    def process(self, audio: Any, sample_rate: float, buffer_size: int, reset: bool) -> Any:
        self.calls += 1
        return self.then(audio) if self.calls > self.good else audio


def boom(_: Any) -> None:
    raise KeyError("boom")


@pytest.mark.parametrize(
    ("then", "message"),
    [
        (boom, "odd failed at 48000 Hz with 2 channels: 'boom'"),
        (lambda x: x[:1], r"odd made \(1, 20000\) of \(2, 20000\)"),
        (lambda x: np.concatenate([x, x], axis=1), r"odd made \(2, 40000\) of \(2, 20000\)"),
        (lambda x: x[0], r"odd made \(20000,\)"),
        (lambda x: "text", "odd failed"),
    ],
)
def test_offline_a_failure_is_one_clear_error(then: Any, message: str) -> None:
    with pytest.raises(CspaceError, match=message):
        Chain([Odd(then, good=0)])(np.ones((2, 20_000), np.float32), RATE)


def test_live_a_failure_passes_the_input_on_and_is_counted() -> None:
    stage = External.of(Odd(boom), RATE, 2)
    x = np.ones((2, 512), np.float32)
    for _ in range(30):
        (hop,) = stage.work(x)
        np.testing.assert_array_equal(hop, x)
    assert stage.faults == 10


def test_what_is_no_plugin_is_refused() -> None:
    assert not is_external(3)
    with pytest.raises(CspaceError, match="a str is not a plugin"):
        External.of("reverb", RATE, 2)
    with pytest.raises(CspaceError, match=r"there is no VST3 file 'no\.vst3'|needs pedalboard"):
        load_vst3("no.vst3")


def test_without_pedalboard_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pedalboard", None)
    text = '[[processor]]\ntype = "pedalboard"\nclass = "Reverb"\n'
    with pytest.raises(CspaceError, match=r"pip install 'cspace\[pedalboard\]'"):
        chainfile.loads(text)
    with pytest.raises(ImportError, match=r"pip install 'cspace\[pedalboard\]'"):
        load_vst3("any.vst3")


def test_importing_cspace_does_not_import_pedalboard() -> None:
    import subprocess

    code = "import sys, cspace.realtime, cspace.plugins.external; sys.exit('pedalboard' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---- the real one ----------------------------------------------------------------------------


def effects() -> list[Any]:
    pedalboard = pytest.importorskip("pedalboard")
    return [
        pedalboard.Reverb(),
        pedalboard.Delay(),
        pedalboard.Chorus(),
        pedalboard.LadderFilter(),
        pedalboard.MP3Compressor(),
        pedalboard.Resample(8000.0),
        pedalboard.Pedalboard([pedalboard.Gain(3.0)]),
    ]


@pytest.mark.parametrize("which", range(7))
def test_any_blocks_give_what_pedalboard_gives_whole(which: int) -> None:
    plugin = effects()[which]
    x = np.random.default_rng(0).uniform(-0.2, 0.2, (2, 40_000)).astype(np.float32)
    expected = effects()[which].process(x, RATE, buffer_size=512, reset=True)
    stage = External.of(plugin, RATE, 2)
    cuts = np.cumsum(np.random.default_rng(1).integers(1, 1000, 60))
    y = np.concatenate([stage.process(p) for p in np.split(x, cuts[cuts < 40_000], axis=1)], axis=1)
    assert y.shape == x.shape
    late = stage.latency_samples
    # The end is only known to the whole run: it is fed silence there.
    end = 40_000 - late - 4096
    np.testing.assert_array_equal(y[:, late : late + end], expected[:, :end])
    stage.reset()
    np.testing.assert_array_equal(stage.process(x), y)


def test_parameters_of_an_effect() -> None:
    pedalboard = pytest.importorskip("pedalboard")
    effect = pedalboard.LadderFilter()
    assert external_name(effect) == "ladderfilter"
    assert external_params(effect)["mode"] == "LPF12"
    set_external(effect, "mode", "HPF24")
    set_external(effect, "cutoff_hz", 300)
    assert external_params(effect)["mode"] == "HPF24"
    assert external_params(effect)["cutoff_hz"] == 300
    for name, value in [("cutof_hz", 1.0), ("mode", "x"), ("cutoff_hz", float("nan")), ("resonance", 5.0)]:
        with pytest.raises(ValueError, match=r"ladderfilter"):
            set_external(effect, name, value)
