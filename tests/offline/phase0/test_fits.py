"""Fits and figures against scikit-learn, and against arithmetic done the plain way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cspace.offline.phase0 import evaluate, moments, windows
from cspace.offline.phase0.frames import Frames
from cspace.offline.phase0.kmeans import KMeans, fit_sample, lloyd, nearest, refine
from cspace.offline.phase0.moments import Labels, Spread, Sums, spread
from cspace.offline.phase0.pca import fit_pca
from cspace.offline.phase0.store import EncoderInfo, Entry, Latents, LatentStore
from cspace.offline.phase0.work import Workers

DIM, WINDOW = 6, 4


def rows_of(x: np.ndarray, ids: np.ndarray, groups: int) -> Sums:
    sums = Sums.zeros(Labels(ids, groups, True), x.shape[1])
    for k in range(groups):
        own = x[ids == k]
        sums.n[k], sums.square[k] = len(own), np.sum(own**2)
        sums.sums[k] = own.sum(axis=0)
        assert sums.squares is not None
        sums.squares[k] = (own**2).sum(axis=0)
    return sums


def test_variance_ratio_of_clusters_whose_spread_is_known() -> None:
    rng = np.random.default_rng(1)
    ids = np.repeat(np.arange(5), 4000)
    means = rng.standard_normal((5, 3)) * 2
    x = means[ids] + rng.standard_normal((len(ids), 3))
    found = spread(rows_of(x, ids, 5))
    within = sum(np.sum((x[ids == k] - x[ids == k].mean(axis=0)) ** 2) for k in range(5))
    total = np.sum((x - x.mean(axis=0)) ** 2)
    # float64 of 20,000 rows near 0: √n · 2⁻⁵³ = 2e-14. The figures of the law, below: statistics, 0.6 % seen.
    assert found.vr == pytest.approx(within / total, rel=1e-9)
    assert found.vr == pytest.approx(1 / (1 + means.var(axis=0).mean()), rel=0.02)
    # ½ ln of the ratio of variances, by dimension: what knowing the cluster is worth.
    assert found.nats == pytest.approx(0.5 * np.mean(np.log(1 + means.var(axis=0))), rel=0.02)
    assert found.groups == 5


@pytest.mark.parametrize(("n", "k"), [(400, 2), (3000, 64), (20_000, 2000)])
def test_ids_that_mean_nothing_give_the_expected_ratio(n: int, k: int) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((n, 1))
    found = [spread(rows_of(x, rng.permutation(np.arange(n) % k), k)) for _ in range(20)]
    expected, sd = 1 - (k - 1) / (n - 1), found[0].expected_sd
    assert found[0].expected == pytest.approx(expected)
    ratios = np.array([f.vr for f in found])
    # Four standard errors of twenty draws.
    assert ratios.mean() == pytest.approx(expected, abs=4 * sd / np.sqrt(20))
    assert 0.5 * sd < ratios.std() < 1.6 * sd
    assert np.mean([f.vr_debiased for f in found]) == pytest.approx(1.0, abs=4 * sd / np.sqrt(20) * n / (n - k))


def test_transfer_ratio_is_the_squares_about_the_other_groups_means() -> None:
    rng = np.random.default_rng(3)
    ids = rng.integers(0, 4, 900)
    x = rng.standard_normal((900, 2)) + ids[:, None]
    m, middle = rng.standard_normal((4, 2)), rng.standard_normal(2)
    found = spread(rows_of(x, ids, 4), (m, middle))
    assert found.transfer_vr == pytest.approx(np.sum((x - m[ids]) ** 2) / np.sum((x - middle) ** 2), rel=1e-9)


def test_parts_of_the_dimensions_add_up() -> None:
    rng = np.random.default_rng(4)
    ids, x = rng.integers(0, 7, 500), rng.standard_normal((500, 9))
    m = rng.standard_normal((7, 9)), rng.standard_normal(9)
    whole = spread(rows_of(x, ids, 7), m)
    parts = Spread()
    for p in (slice(0, 4), slice(4, 5), slice(5, 9)):
        parts = parts + spread(rows_of(x[:, p], ids, 7), (m[0][:, p], m[1][p]))
    for key, value in vars(whole).items():
        assert getattr(parts, key) == pytest.approx(value, rel=1e-9), key
    labels = [Labels(ids, 40_000, True)]
    cut = moments.dimension_parts(512, labels)
    assert len(cut) > 1
    assert [i for p in cut for i in range(p.start, p.stop)] == list(range(512))


def test_entropy_falls_by_nothing_for_ids_that_mean_nothing() -> None:
    rng = np.random.default_rng(5)
    x, ids = rng.standard_normal((60_000, 4)), rng.integers(0, 8, 60_000)
    # The original divided by the entropy of z-scored data, which is 0, and gave −275 and +35 for the like of this.
    # Chance: (8 − 1) / (2 · 60,000) = 6e-5 a dimension.
    assert abs(spread(rows_of(x, ids, 8)).nats) < 1e-3


def test_nearest_centre_is_the_nearest() -> None:
    rng = np.random.default_rng(6)
    for offset in (0.0, 300.0):
        x = (rng.standard_normal((700, 5)) + offset).astype(np.float32)
        c = (rng.standard_normal((33, 5)) + offset).astype(np.float32)
        far = ((x[:, None].astype(float) - c[None]) ** 2).sum(axis=2)
        ids, distance = nearest(x, c)
        # Second nearest centres lie at least 7e-4 farther; float32 products of 5 values near 1 are off by 1e-6.
        assert np.array_equal(ids, far.argmin(axis=1))
        # |x|² − 2 x·c + |c|² of float32 values below 20: 20 · 2⁻²⁴ · √5 = 3e-6.
        assert np.allclose(distance, far.min(axis=1), rtol=1e-3, atol=1e-4)


def test_kmeans_is_as_good_as_scikit_learns() -> None:
    from sklearn.cluster import KMeans as Reference

    rng = np.random.default_rng(7)
    x = (rng.standard_normal((12, 4))[rng.integers(0, 12, 3000)] * 3 + rng.standard_normal((3000, 4))).astype(
        np.float32
    )
    found = fit_sample(x, 16, starts=5, iterations=100, seed=1, threads=2)
    reference = Reference(16, n_init=5, random_state=1, max_iter=100).fit(x).inertia_ / len(x)
    # Two local minima of five starts each; 0.05 % apart here.
    assert found.inertia < 1.01 * reference
    again = fit_sample(x, 16, starts=5, iterations=100, seed=1, threads=1)
    assert np.array_equal(again.centres, found.centres)

    def all_rows(centres: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
        for part in np.array_split(x, 7):
            ids, distance = nearest(part, centres)
            sums = np.zeros((16, 4))
            np.add.at(sums, ids, part)
            yield sums, np.bincount(ids, minlength=16).astype(float), float(distance.sum())

    poor = lloyd(x[:200], x[:16].copy(), 3)
    better = refine(KMeans(poor[0], poor[1], 0, poor[2], 0), all_rows, 100)
    assert better.inertia < float(nearest(x, poor[0])[1].mean())
    assert better.inertia < 1.3 * reference


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    folder = tmp_path_factory.mktemp("latents")
    store = LatentStore.create(folder, EncoderInfo("made", "", 24_000, 1920, DIM, 12.5, "x"))
    rng, made, entries = np.random.default_rng(8), [], []
    mix = rng.standard_normal((DIM, DIM))
    for k, frames in enumerate((90, 300, 40, 171)):
        x = (np.cumsum(rng.standard_normal((frames, DIM)), axis=0) * 0.3 @ mix + 5.0).astype(np.float32)
        store.write(f"u{k}", Latents(x, np.ones(frames, np.float32), np.arange(frames) / 12.5, f"s{k // 2}"))
        entries.append(Entry(f"u{k}", f"s{k // 2}", frames, frames / 12.5, ""))
        made.append(x)
    store.finish(entries)
    return folder, made


def table(made: list[np.ndarray]) -> Frames:
    times = [windows.valid_times(len(x), WINDOW, 2).astype(np.int32) for x in made]
    counts = [len(t) for t in times]
    n = sum(counts)
    return Frames(
        [f"u{k}" for k in range(len(made))],
        ["s0", "s1"],
        np.repeat(np.arange(len(made), dtype=np.int32), counts),
        np.repeat(np.array([k // 2 for k in range(len(made))], np.int32), counts),
        np.concatenate(times),
        np.zeros(n, np.float32),
        np.zeros(n, np.float32),
        np.zeros(n, bool),
        np.zeros(n, bool),
    )


@pytest.mark.parametrize("block", [64, 1000])
def test_components_are_scikit_learns_whatever_the_blocks(small: tuple[Path, list[np.ndarray]], block: int) -> None:
    from sklearn.decomposition import PCA

    folder, made = small
    frames = table(made)
    flat = np.concatenate(
        [windows.flattened(x, windows.valid_times(len(x), WINDOW, 2), 2, WINDOW) for x in made]
    ).astype(np.float64)
    reference = PCA(3).fit(flat)
    with Workers(2) as workers:
        found = fit_pca(workers, frames.blocks(block), str(folder), 2, WINDOW, 3, most_passes=30, seed=1)
        other = fit_pca(
            workers, frames.blocks(block), str(folder), 2, WINDOW, 3, most_passes=30, seed=1, basis=found.basis
        )
    assert found.converged
    assert found.windows == len(flat)
    assert found.speakers == ["s0", "s1"]
    # A pass ends at changes below 1e-4; float32 products of 24 values are below that.
    assert np.allclose(found.variances, reference.explained_variance_ * (len(flat) - 1) / len(flat), rtol=1e-3)
    assert found.explained == pytest.approx(reference.explained_variance_ratio_.sum(), rel=1e-3)
    assert np.allclose(np.abs(np.sum(found.axes * reference.components_.T, axis=0)), 1.0, atol=1e-3)
    assert other.passes <= 2  # it starts where the last one ended


@pytest.mark.parametrize("offset", [5.0, 300.0, -3000.0])
def test_the_share_explained_holds_far_from_zero(tmp_path: Path, offset: float) -> None:
    rng, entries, made = np.random.default_rng(11), [], []
    store = LatentStore.create(tmp_path, EncoderInfo("made", "", 24_000, 1920, DIM, 12.5, "x"))
    for k in range(2):
        x = (rng.standard_normal((400, DIM)) * np.arange(1, DIM + 1) + offset).astype(np.float32)
        store.write(f"u{k}", Latents(x, np.ones(400, np.float32), np.arange(400) / 12.5, f"s{k}"))
        entries.append(Entry(f"u{k}", f"s{k}", 400, 32.0, ""))
        made.append(x)
    store.finish(entries)
    times = np.arange(WINDOW + 2, 400, dtype=np.int32)
    who, n = np.repeat(np.arange(2, dtype=np.int32), len(times)), 2 * len(times)
    still, no = np.zeros(n, np.float32), np.zeros(n, bool)
    frames = Frames(["u0", "u1"], ["s0", "s1"], who, who, np.tile(times, 2), still, still, no, no)
    with Workers(1) as workers:
        found = fit_pca(workers, frames.blocks(200), str(tmp_path), 2, WINDOW, 3, most_passes=1, seed=1)
    flat = np.concatenate([windows.flattened(x, times, 2, WINDOW) for x in made]).astype(float)
    # Squares and their mean are summed in float64: (offset / width)² × 2⁻⁵³ × 800 rows.
    assert found.total_variance == pytest.approx(flat.var(axis=0).sum(), rel=1e-7)


def test_blocks_hold_one_speaker_and_every_row_once(small: tuple[Path, list[np.ndarray]]) -> None:
    frames = table(small[1])
    for keep in (None, np.arange(len(frames)) % 3 == 0):
        blocks = frames.blocks(64, keep)
        rows = np.arange(len(frames)) if keep is None else np.flatnonzero(keep)
        assert [b.first for b in blocks] == list(np.cumsum([0, *(b.rows for b in blocks[:-1])]))
        assert sum(b.rows for b in blocks) == len(rows)
        got = [(u, int(t)) for b in blocks for u, times in b.parts for t in times]
        assert got == [(frames.utterances[frames.utterance[r]], int(frames.t[r])) for r in rows]
        for b in blocks:
            assert b.rows <= 64
            assert len({int(u[1:]) // 2 for u, _ in b.parts}) == 1


def test_interval_over_speakers_is_students() -> None:
    found = evaluate.interval([1.0, 2.0, 3.0, float("nan")])
    assert (found["count"], found["mean"]) == (3, 2.0)
    assert found["high"] - 2.0 == pytest.approx(4.303 / np.sqrt(3), rel=1e-3)
    assert "low" not in evaluate.interval([1.0])
    assert evaluate.interval([]) == {"count": 0}
