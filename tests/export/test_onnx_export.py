"""torch -> package: parity with torch, and modules that cannot be a stream are refused."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("onnxscript")

from cspace.export.onnx_export import TorchStream, export_stream  # noqa: E402
from cspace.export.package import PackageError, Parameter, read  # noqa: E402
from cspace.export.parity import check, default_runtimes  # noqa: E402


class Recurrent(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A convolution with history, a GRU over frames, and a gain."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = torch.nn.Conv1d(1, 8, 32, stride=16, bias=False)
        self.gru = torch.nn.GRU(8, 8, batch_first=True)
        self.back = torch.nn.ConvTranspose1d(8, 1, 16, stride=16)

    def forward(self, audio: Any, history: Any, hidden: Any, gain: Any) -> Any:
        x = torch.cat([history, audio], -1)
        z, hidden = self.gru(self.conv(x).transpose(1, 2), hidden)
        return self.back(z.transpose(1, 2)) * gain, x[..., -16:], hidden


SETTINGS: dict[str, Any] = {
    "name": "recurrent",
    "sample_rate": 16_000,
    "hop": 64,
    "licence": "MIT",
    "states": {"history": (1, 1, 16), "hidden": (1, 1, 8)},
    "parameters": [Parameter("gain", "gain", 0.0, 4.0, 1.0)],
}


@pytest.mark.filterwarnings("ignore")
def test_a_recurrent_module_streams_the_same_everywhere(tmp_path: Path) -> None:
    module = Recurrent()
    package = export_stream(module, tmp_path / "p", training={"data": "none"}, metrics={"si_snr_db": 1.0}, **SETTINGS)
    assert module.training, "the module is left as it was"
    m = read(tmp_path / "p").manifest
    assert (m.training, m.metrics) == ({"data": "none"}, {"si_snr_db": 1.0})
    module.eval()
    runtimes = default_runtimes(package)
    runtimes["torch"] = lambda golden: TorchStream(module, m, **golden.parameters).step
    rows = check(package, runtimes)
    assert {r.runtime for r in rows} >= {"torch", "python"}
    for row in rows:
        assert row.ok, row
        assert row.hops > 100
    assert np.abs(package.golden(m.goldens[0])[1]).max() > 0.01


class Forgetful(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Keeps a state of its own, which the graph cannot see."""

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.zeros(1, 1, 64)

    def forward(self, audio: Any, history: Any, hidden: Any, gain: Any) -> Any:
        out = (audio + self.last) * gain
        self.last = audio.detach().clone()
        return out, history + 0.0, hidden * 1.0


@pytest.mark.filterwarnings("ignore")
def test_a_hidden_state_is_found(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"differs from torch by|cannot export"):
        export_stream(Forgetful(), tmp_path / "p", **SETTINGS)
    assert not (tmp_path / "p").exists()


class Wrong(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Gives back a state of another shape."""

    def forward(self, audio: Any, history: Any, hidden: Any, gain: Any) -> Any:
        return audio * gain, history[..., :8], hidden * 1.0


@pytest.mark.filterwarnings("ignore")
def test_a_state_that_changes_its_shape_is_found(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"'history_next' has shape \(1, 1, 8\)"):
        export_stream(Wrong(), tmp_path / "p", **SETTINGS)
