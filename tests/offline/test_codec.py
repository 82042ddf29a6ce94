"""The codec: what comes out of a file is what went in, at any block size, whatever happens to the file on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from cspace.offline.codec import container, entropy
from cspace.offline.codec.codec import Analyser, Codec, CodecInfo, Synthesiser, load, save
from cspace.offline.codec.container import Damage, Packet
from cspace.offline.codec.entropy import CLASSES, SYMBOLS, TOTAL, ContextModel
from cspace.offline.codec.fidelity import compare, find_delay, si_snr_db
from cspace.offline.codec.files import decode_file, encode_file
from cspace.offline.codec.quantise import dequantise, quantise, smallest_step, step_size
from cspace.offline.codec.spec import CodecSpec, preset
from cspace.offline.codec.synth import music
from cspace.plugins import AudioError, CspaceError, ParameterError
from cspace.plugins._errors import FileError

RATE = 24_000
SMALL = CodecSpec(hop=32, dims=32, packet_frames=16, kbps=64.0)


def geometric() -> ContextModel:
    """Magnitudes fall off by the same factor; each class has the mean it stands for."""
    mean = np.exp2(-7 + np.arange(CLASSES) / 3)[:, None] / np.exp2(entropy.SHIFTS)[:, None]
    share = (mean / (1 + mean)) ** np.arange(SYMBOLS)
    tables = np.maximum(1, share / share.sum(axis=1, keepdims=True) * (TOTAL - 40)).astype(np.int32)
    tables[:, 0] += TOTAL - tables.sum(axis=1, dtype=np.int32)
    weights = np.array([[1800, 700, *[0] * 8], [900, 300, 0, 400, 1600, 600, 100, 0, 0, 0], [800, 200] + [300] * 8])
    return ContextModel(weights.astype(np.int32), np.full((3, 16), 100, np.int32), tables)


def lapped(spec: CodecSpec) -> tuple[np.ndarray, np.ndarray]:
    """The sine-windowed MDCT, written down apart from the code under test (Malvar 1992, eq. 4.x; scipy's DCT-IV)."""
    from scipy.fft import dct

    n = spec.hop
    window = np.sin(np.pi * (np.arange(2 * n) + 0.5) / (2 * n))
    rows = []
    for i in range(2 * n):  # fold, then DCT-IV, of each unit impulse
        x = np.zeros(2 * n)
        x[i] = window[i]
        a, b, c, d = np.split(x, 4)
        rows.append(dct(np.concatenate([-c[::-1] - d, a - b[::-1]]), type=4, norm="ortho"))
    basis = np.stack(rows, axis=1).astype(np.float32)  # (dims, 2 n), old half first
    analysis = np.concatenate([basis[:, n:], basis[:, :n]], axis=1)
    synthesis = np.concatenate([basis[:, :n].T, basis[:, n:].T], axis=1)
    return analysis, synthesis


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    path = tmp_path_factory.mktemp("model") / "codec.safetensors"
    save(path, CodecInfo(name="small", spec=SMALL), *lapped(SMALL), geometric())
    return load(path)


@pytest.fixture(scope="module")
def encoded(codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("csc")
    x = music(2.0, RATE, 3)
    sf.write(folder / "x.wav", x, RATE, subtype="FLOAT")
    encode_file(codec, folder / "x.wav", folder / "x.csc")
    return folder / "x.csc"


# ---- entropy coder ---------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 24), st.integers(1, 40), st.floats(0.01, 4000.0))
def test_codes_come_back_for_any_shape_and_size(seed: int, frames: int, dims: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    codes = np.clip(np.round(rng.laplace(0, scale, (frames, dims))), -8191, 8191).astype(np.int16)
    data = entropy.encode(geometric(), codes)
    assert np.array_equal(entropy.decode(geometric(), data, frames, dims), codes)
    assert abs(len(data) * 8 - entropy.cost_bits(geometric(), codes)) < 96  # a word, a count, a byte's rest


def test_neighbours_help_where_magnitudes_move_slowly() -> None:
    rng = np.random.default_rng(1)
    envelope = np.exp2(4 * np.sin(np.arange(48)[:, None] / 9) + 2 * np.cos(np.arange(64) / 11))
    codes = np.clip(np.round(rng.laplace(0, envelope)), -8191, 8191).astype(np.int16)
    shuffled = rng.permutation(codes.ravel()).reshape(codes.shape)
    assert len(entropy.encode(geometric(), codes)) < 0.9 * len(entropy.encode(geometric(), shuffled))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_crash_the_entropy_decoder(data: bytes) -> None:
    try:
        codes = entropy.decode(geometric(), data, 16, 32)
    except FileError:
        return
    assert codes.shape == (16, 32)


def test_context_model_refuses_wrong_tables() -> None:
    good = geometric()
    with pytest.raises(FileError, match="sum to 32768"):
        ContextModel(good.weights, good.offsets, good.tables + np.int32(1))
    with pytest.raises(FileError, match="weights is int64"):
        ContextModel(good.weights.astype(np.int64), good.offsets, good.tables)  # type: ignore[arg-type]


# ---- quantiser -------------------------------------------------------------------------------


@pytest.mark.parametrize("level_db", [20, 0, -40, -80, -100])
def test_rounding_is_as_good_at_any_level(level_db: int) -> None:
    z = np.random.default_rng(2).standard_normal((16, 32)).astype(np.float32) * np.float32(10 ** (level_db / 20))
    step = smallest_step(float(np.abs(z).max()))
    codes = quantise(z, step, 0.0)
    assert np.abs(codes).max() in range(7000, 8192)
    error = dequantise(codes, step, 0.0) - z
    assert 10 * np.log10(np.sum(z**2) / np.sum(error**2)) > 74.0
    assert np.abs(error).max() <= 0.5001 * step_size(step)


# ---- transform and streaming -----------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 63, 64, 311, 1024, 8192])
def test_blocks_of_any_size_give_the_same_bits(codec: Codec, block: int) -> None:
    x = music(0.4, RATE, 4)
    whole, pieces = Analyser(codec), Analyser(codec)
    want = whole.push(x) + whole.flush()
    got = [z for i in range(0, len(x), block) for z in pieces.push(x[i : i + block])] + pieces.flush()
    assert np.array_equal(np.stack(want), np.stack(got))


def test_without_rounding_sound_comes_back_delayed_by_what_the_spec_says(codec: Codec) -> None:
    x = np.zeros(3000, np.float32)
    x[700] = 1.0
    analyser, synthesiser = Analyser(codec), Synthesiser(codec)
    y = np.concatenate([synthesiser.push(z) for z in analyser.push(x) + analyser.flush()])
    assert int(np.argmax(np.abs(y))) == 700 + SMALL.delay_samples
    assert np.allclose(y[SMALL.delay_samples :][:3000], x, atol=2e-3)  # matrices are float16


def test_torch_and_numpy_give_the_same(codec: Codec) -> None:
    torch = pytest.importorskip("torch")
    from cspace.offline.codec.model import Transform

    transform = Transform(SMALL)
    x = torch.from_numpy(music(0.3, RATE, 6)[: 6400 // 512 * 512])[None]
    z = transform.encode(x)
    mine = Transform(SMALL).encode(x)
    assert torch.equal(z, mine)
    mdct, _ = lapped(SMALL)
    # The same numbers as float32: 2⁻²⁵.
    assert np.allclose(np.abs(transform.analysis.detach().numpy()), np.abs(mdct), atol=1e-6)
    past_x, past_z = torch.zeros(1, SMALL.hop), torch.zeros(1, SMALL.dims)
    for i in range(z.shape[1]):
        step, past_x = transform.encode_step(x[:, i * SMALL.hop : (i + 1) * SMALL.hop], past_x)
        # One frame or all of them: other shapes, other kernels of torch; float32 sums of 128 products, 8e-8 seen.
        assert torch.allclose(step, z[:, i], atol=1e-6)
        sound, past_z = transform.decode_step(step, past_z)
        assert torch.allclose(sound, transform.decode(z)[:, i * SMALL.hop : (i + 1) * SMALL.hop], atol=1e-6)


def test_the_step_for_a_rate_has_the_right_gradient() -> None:
    torch = pytest.importorskip("torch")
    from cspace.offline.codec.quantise import proxy_bits, step_for_rate

    z = torch.randn(2, 12, 10, dtype=torch.double, generator=torch.Generator().manual_seed(1), requires_grad=True)
    # The step is found by halving, in float64, down to rounding.
    assert torch.allclose(proxy_bits(z, step_for_rate(z, 1.5, 48)), torch.tensor(1.5, dtype=torch.double))
    assert torch.autograd.gradcheck(lambda v: step_for_rate(v, 1.5, 48), z, eps=1e-5, atol=1e-5)


# ---- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("one_pass", [False, True])
@pytest.mark.parametrize("kbps", [24.0, 64.0])
def test_a_file_has_the_rate_asked_for(codec: Codec, tmp_path: Path, kbps: float, one_pass: bool) -> None:
    x = np.tile(music(4.0, RATE, 8), 2)
    sf.write(tmp_path / "x.wav", x, RATE, subtype="FLOAT")
    made = encode_file(codec, tmp_path / "x.wav", tmp_path / "x.csc", kbps=kbps, one_pass=one_pass)
    assert made.bytes == (tmp_path / "x.csc").stat().st_size
    # Whole packets and steps of 0.75 dB: 2.5 % off with two passes.
    assert made.kbps == pytest.approx(kbps, rel=0.12 if one_pass else 0.04)
    decode_file(codec, tmp_path / "x.csc", tmp_path / "y.wav")
    y, _ = sf.read(tmp_path / "y.wav", dtype="float32")
    assert len(y) == len(x)
    assert find_delay(x, y, 500) == 0
    # A fixed transform on fixed music: 8.6 dB at 24 kbit/s; kernels move it by what one code in thousands does.
    assert si_snr_db(y, x) > (8.0 if kbps < 30 else 15.0)


def test_channels_and_rates_are_kept_as_said(codec: Codec, tmp_path: Path) -> None:
    t = np.arange(48_000) / 48_000
    x = 0.3 * np.stack([np.sin(2 * np.pi * 440 * t), np.sin(2 * np.pi * 1000 * t)], axis=1)
    sf.write(tmp_path / "x.wav", x, 48_000, subtype="FLOAT")
    made = encode_file(codec, tmp_path / "x.wav", tmp_path / "x.csc")
    assert made.conversions == ["resampled from 48000 to 24000 Hz"]
    found = decode_file(codec, tmp_path / "x.csc", tmp_path / "y.wav")
    y, rate = sf.read(tmp_path / "y.wav")
    assert (y.shape, rate, found.gaps) == ((24_000, 2), RATE, [])
    for channel, hz in enumerate((440, 1000)):
        want = 0.3 * np.sin(2 * np.pi * hz * np.arange(24_000) / RATE)
        assert si_snr_db(y[1000:-1000, channel], want[1000:-1000]) > 25.0


def test_quiet_sound_is_coded_as_well_as_loud(codec: Codec, tmp_path: Path) -> None:
    x, ratios = music(1.5, RATE, 9), []
    for name, gain in (("loud", 1.0), ("quiet", 1e-4)):
        sf.write(tmp_path / "x.wav", x * np.float32(gain), RATE, subtype="FLOAT")
        encode_file(codec, tmp_path / "x.wav", tmp_path / f"{name}.csc")
        decode_file(codec, tmp_path / f"{name}.csc", tmp_path / "y.wav")
        ratios.append(si_snr_db(sf.read(tmp_path / "y.wav")[0], x))
    # Steps of 0.75 dB fall otherwise at the other level.
    assert abs(ratios[0] - ratios[1]) < 0.5


def test_digital_silence_costs_little_and_stays_silent(codec: Codec, tmp_path: Path) -> None:
    sf.write(tmp_path / "x.wav", np.zeros(RATE, np.float32), RATE, subtype="FLOAT")
    assert encode_file(codec, tmp_path / "x.wav", tmp_path / "x.csc").kbps < 9.0
    decode_file(codec, tmp_path / "x.csc", tmp_path / "y.wav")
    assert not sf.read(tmp_path / "y.wav")[0].any()


def test_damage_stays_in_its_packet(codec: Codec, encoded: Path, tmp_path: Path) -> None:
    decode_file(codec, encoded, tmp_path / "good.wav")
    good = sf.read(tmp_path / "good.wav")[0]
    data = bytearray(encoded.read_bytes())
    data[len(data) // 2] ^= 0x10
    (tmp_path / "bad.csc").write_bytes(data)
    found = decode_file(codec, tmp_path / "bad.csc", tmp_path / "bad.wav")
    bad = sf.read(tmp_path / "bad.wav")[0]
    assert len(found.gaps) == 1
    assert "silence there" in found.gaps[0]
    assert found.damage.skipped_bytes > 16
    length = SMALL.packet_frames * SMALL.hop
    wrong = np.flatnonzero(good != bad)
    assert len(good) == len(bad)
    assert wrong[-1] - wrong[0] < length + SMALL.hop  # its own packet and the overlap of one frame


def test_a_file_cut_at_packets_plays_what_is_there(codec: Codec, encoded: Path, tmp_path: Path) -> None:
    data = encoded.read_bytes()
    starts = [i for i in range(48, len(data)) if container._parse(data, i) is not None]
    assert len(starts) > 50
    (tmp_path / "front.csc").write_bytes(data[: starts[20]])
    (tmp_path / "middle.csc").write_bytes(data[:48] + data[starts[30] :])
    front = decode_file(codec, tmp_path / "front.csc", tmp_path / "a.wav")
    assert front.samples == 20 * 512 - 32
    assert front.gaps == [f"ends early: {20 * 512 - 32} of 48000 samples are there"]
    middle = decode_file(codec, tmp_path / "middle.csc", tmp_path / "b.wav")
    assert (middle.samples, len(middle.gaps)) == (48_000, 30)


def test_foreign_files_are_named(codec: Codec, encoded: Path, tmp_path: Path) -> None:
    data = encoded.read_bytes()
    other = bytearray(data[:48])
    other[8] ^= 1
    cases = {
        "is empty": b"",
        "is not a .csc file": b"RIFF" + bytes(60),
        "cut off within its header": data[:30],
        "its header is damaged": bytes(other) + data[48:],
        "holds no packet": data[:48],
    }
    for words, content in cases.items():
        (tmp_path / "x.csc").write_bytes(content)
        with pytest.raises(FileError, match=words):
            decode_file(codec, tmp_path / "x.csc", tmp_path / "y.wav")
        assert not (tmp_path / "y.wav").exists()
    strange = container.Header(b"\1" * 16, RATE, 32, 32, 16, 1, 48_000)
    (tmp_path / "x.csc").write_bytes(strange.pack() + data[48:])
    with pytest.raises(FileError, match="another model"):
        decode_file(codec, tmp_path / "x.csc", tmp_path / "y.wav")


def mangle(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes: bits, runs, cuts, repeats, insertions, forged packets with right checksums."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        if not out:
            break
        at = int(rng.integers(0, len(out)))
        size = int(rng.integers(1, 200))
        match rng.integers(0, 7):
            case 0:
                out[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                out[at : at + size] = rng.bytes(len(out[at : at + size]))
            case 2:
                del out[at : at + size]
            case 3:
                del out[at:]
            case 4:
                out[at:at] = out[max(0, at - size) : at]
            case 5:
                out[at:at] = container.SYNC * int(rng.integers(1, 30))
            case _:
                index = int(rng.integers(0, 2**32)) if rng.random() < 0.5 else int(rng.integers(0, 100))
                step = int(rng.integers(0, 256))
                out[at:at] = Packet(index, step, rng.bytes(size)).pack()
    return bytes(out)


def fuzz(codec: Codec, encoded: Path, tmp_path: Path, cases: int, seed: int) -> tuple[int, int]:
    """Mangled files through the reader, and every 50th through the whole decoder."""
    import io

    rng = np.random.default_rng(seed)
    data = encoded.read_bytes()[:6000]
    good = {p.index: p for p in container.read_packets(io.BytesIO(data[48:]), Damage())}
    refused = passed = 0
    for case in range(cases):
        bad = mangle(data, rng)
        if case % 50 == 0:
            (tmp_path / "bad.csc").write_bytes(bad)
            try:
                found = decode_file(codec, tmp_path / "bad.csc", tmp_path / "bad.wav")
                assert found.samples <= 48_000
                passed += 1
            except CspaceError:
                refused += 1
            continue
        file = io.BytesIO(bad)
        try:
            container.read_header(file, "bad")
        except CspaceError:
            refused += 1
            continue
        damage = Damage()
        read = list(container.read_packets(file, damage))
        whole = sum(16 + len(p.codes) for p in read)
        assert whole + damage.skipped_bytes == len(bad) - 48
        assert sum(p == good.get(p.index) for p in read) <= len(read)
        passed += 1
    return passed, refused


def test_mangled_files_end_in_sound_or_a_clear_error(codec: Codec, encoded: Path, tmp_path: Path) -> None:
    passed, refused = fuzz(codec, encoded, tmp_path, 1500, 1)
    assert passed > 500
    assert refused > 20


@pytest.mark.heavy
@pytest.mark.timeout(3600)
def test_mangled_files_a_hundred_thousand_times(codec: Codec, encoded: Path, tmp_path: Path) -> None:
    passed, refused = fuzz(codec, encoded, tmp_path, 100_000, 2)
    assert passed + refused == 100_000


def test_a_header_that_promises_too_much_costs_nothing(codec: Codec, encoded: Path, tmp_path: Path) -> None:
    """Checksums right, numbers absurd: what is written follows the packets that are there."""
    data = encoded.read_bytes()
    with open(encoded, "rb") as file:
        header = container.read_header(file, "x")
        packets = list(container.read_packets(file, Damage()))
    far = replace(packets[-1], index=2**31).pack()
    for header_bytes, more in (
        (replace(header, samples=2**60).pack(), b""),
        (replace(header, samples=2**60).pack(), far),
        (replace(header, samples=2**60, channels=255).pack(), b""),
    ):
        (tmp_path / "big.csc").write_bytes(header_bytes + data[48:] + more)
        found = decode_file(codec, tmp_path / "big.csc", tmp_path / "big.wav")
        assert found.samples <= 60_000
        assert (tmp_path / "big.wav").stat().st_size < 64e6
        assert found.gaps
    (tmp_path / "big.csc").write_bytes(replace(header, packet_frames=65_535, dims=65_535).pack() + data[48:])
    with pytest.raises(CspaceError, match="does not go with the model"):
        decode_file(codec, tmp_path / "big.csc", tmp_path / "big.wav")


# ---- fidelity --------------------------------------------------------------------------------


def test_delay_and_gain_are_found_and_do_not_count_as_noise() -> None:
    x = music(1.0, RATE, 11)
    noise = np.random.default_rng(1).standard_normal(len(x)).astype(np.float32)
    noise *= np.float32(np.std(x) * 0.1)  # 20 dB below
    y = np.concatenate([np.zeros(37, np.float32), 0.5 * (x + noise)])
    found = compare(x, y.astype(np.float32), RATE)
    assert found.delay_samples == 37
    # Noise of 20 dB, drawn: the gain is known to 10^(-20/20) / √n, its own ratio to √(2 / n).
    assert found.gain_db == pytest.approx(-6.02, abs=0.05)
    assert found.si_snr_db == pytest.approx(20.0, abs=0.3)
    assert found.snr_db == pytest.approx(6.0, abs=0.2)
    same = compare(x, x, RATE)
    assert same.si_snr_db > 100
    assert same.stft_convergence == 0.0
    assert same.cspace_nsr_db < -200


def test_state_error_is_that_of_the_states() -> None:
    from cspace.offline.bank import BankSpec, bidirectional_states
    from cspace.offline.codec.fidelity import state_error_db

    x = np.pad(music(0.3, RATE, 12), (20_000, 20_000))
    y = x + np.float32(0.01) * np.pad(np.random.default_rng(3).standard_normal(7200), (20_000, 20_000)).astype(
        np.float32
    )
    a, b = (bidirectional_states(v, BankSpec(), RATE).astype(np.float64) for v in (x, y))
    want = 10 * np.log10(np.sum((b - a) ** 2) / np.sum(a**2))
    # float32 states against float64: 4e-9 seen; blocks cut wrongly cost 0.1.
    assert state_error_db(x, y, RATE) == pytest.approx(want, abs=0.02)


def test_what_cannot_be_compared_is_named() -> None:
    x = music(0.5, RATE, 1)
    with pytest.raises(AudioError, match="silent or constant"):
        compare(np.full(RATE, 0.3, np.float32), x, RATE)
    with pytest.raises(AudioError, match="too short"):
        compare(x[:100], x, RATE)
    assert np.isnan(si_snr_db(x, np.zeros_like(x)))


def test_presets_keep_their_latency() -> None:
    for name, most in (("phase96", 0.010), ("phase144", 0.010), ("rate8", 0.050), ("rate24", 0.050)):
        assert preset(name).latency_samples / preset(name).sample_rate <= most
    with pytest.raises(ParameterError, match="did you mean 'phase96'"):
        preset("phase69")


def test_rivals_that_go_no_lower_say_so() -> None:
    from cspace.offline.codec.baselines import mp3, opus

    x = music(1.0, RATE, 5)
    for rival, lowest in ((mp3, 8.0), (opus, 5.0)):
        made = rival(x, RATE, 300)
        assert made is not None
        assert made.note == "its lowest rate is above"
        assert made.bytes * 8e-3 >= lowest
        fair = rival(x, RATE, 4000)
        assert fair is not None
        assert 2000 < fair.bytes <= 4000
