"""The von Mises-Fisher law of Tier 1 against mpmath and scipy, which nobody here wrote."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
mp = pytest.importorskip("mpmath")

from scipy import special, stats  # noqa: E402

from cspace.offline.phase0.tier1 import vmf  # noqa: E402
from cspace.plugins import CspaceError  # noqa: E402

DIMS = (2, 3, 5, 16, 63, 64, 65, 66, 128, 512, 1024, 4096)
KAPPAS = (1e-6, 1e-3, 0.1, 1.0, 10.0, 50.0, 800.0, 1e4, 1e5)


@pytest.mark.parametrize("dim", DIMS)
def test_log_normaliser_and_its_slope_are_those_of_mpmath(dim: int) -> None:
    mp.mp.dps = 40
    for kappa in KAPPAS:
        nu = mp.mpf(dim) / 2 - 1
        low, high = (mp.besseli(nu + j, kappa, maxterms=10**6) for j in (0, 1))
        expected = nu * mp.log(kappa) - mp.mpf(dim) / 2 * mp.log(2 * mp.pi) - mp.log(low)
        k = torch.tensor(kappa, dtype=torch.float64, requires_grad=True)
        value = vmf.log_normaliser(dim, k)
        value.backward()
        # mpmath's digits against float64: values up to some 1000 nats have 1e-13; 3e-11 seen.
        assert abs(float(value.detach()) - float(expected)) < 1e-9, kappa
        assert k.grad is not None
        assert float(-k.grad) == pytest.approx(float(high / low), rel=1e-9), kappa
        assert float(vmf.mean_resultant(dim, k.detach())) == pytest.approx(float(high / low), rel=1e-9), kappa


@pytest.mark.parametrize("dim", [2, 10, 64, 200])
def test_log_normaliser_is_that_of_scipy_where_scipy_works(dim: int) -> None:
    nu = dim / 2 - 1
    kappa = np.array([0.5, 5.0, 50.0, 500.0])
    kappa = kappa[special.ive(nu, kappa) > 1e-300]
    assert len(kappa) >= 2
    expected = nu * np.log(kappa) - dim / 2 * math.log(2 * math.pi) - (np.log(special.ive(nu, kappa)) + kappa)
    np.testing.assert_allclose(vmf.log_normaliser(dim, torch.from_numpy(kappa)).numpy(), expected, atol=1e-9)


def test_no_kappa_is_the_uniform_direction() -> None:
    for dim in DIMS:
        zero = torch.zeros((), dtype=torch.float64)
        assert float(vmf.log_normaliser(dim, zero)) == pytest.approx(-vmf.log_area(dim), abs=1e-9)


def test_second_derivative_is_that_of_the_resultant() -> None:
    k = torch.tensor([0.3, 20.0, 700.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: vmf.mean_resultant(64, x), (k.requires_grad_(),))


@pytest.mark.parametrize(("dim", "kappa"), [(3, 4.0), (8, 20.0)])
def test_density_is_that_of_scipys_distribution(dim: int, kappa: float) -> None:
    rng = np.random.default_rng(1)
    mu = np.eye(dim)[0]
    law = stats.vonmises_fisher(mu, kappa)
    d = law.rvs(50, random_state=rng)
    found = float(vmf.log_normaliser(dim, torch.tensor(kappa, dtype=torch.float64))) + kappa * d @ mu
    # The same in scipy's way: 1e-12 seen.
    np.testing.assert_allclose(found, law.logpdf(d), atol=1e-9)


@pytest.mark.parametrize(("dim", "kappa"), [(2, 0.0), (2, 3.0), (3, 0.5), (64, 50.0), (512, 800.0), (16, 1e5)])
def test_sampled_cosines_follow_the_density(dim: int, kappa: float) -> None:
    """Kolmogorov-Smirnov against the density of the cosine, integrated numerically."""
    rng = np.random.default_rng(2)
    cosines = vmf.sample_cosine(dim, np.full(20_000, kappa), rng)
    # Over the angle the density is bounded at both ends, in 2-D too.
    spread = 12.0 / math.sqrt(max(kappa, 1.0)) + 12.0 / math.sqrt(dim)
    mode = math.acos(float(vmf.mean_resultant(dim, torch.tensor(kappa))))
    angle = np.linspace(max(1e-9, mode - spread), min(math.pi - 1e-9, mode + spread), 400_001)
    log_density = kappa * (np.cos(angle) - 1.0) + (dim - 2) * np.log(np.sin(angle))
    weight = np.exp(log_density - log_density.max())
    cdf = np.cumsum(weight) / weight.sum()
    found = stats.kstest(np.arccos(cosines), lambda a: np.interp(a, angle, cdf))
    assert found.pvalue > 1e-3


def test_sampled_directions_are_unit_and_turn_about_their_means() -> None:
    rng = np.random.default_rng(3)
    mu = rng.standard_normal((4000, 64))
    mu /= np.linalg.norm(mu, axis=1, keepdims=True)
    d = vmf.sample(mu, np.full(4000, 50.0), rng)
    np.testing.assert_allclose(np.linalg.norm(d, axis=1), 1.0, atol=1e-12)
    # Across the mean the direction is even: no axis is preferred.
    across = d - (d * mu).sum(1, keepdims=True) * mu
    # Five standard deviations of a mean of 4000 draws.
    assert np.linalg.norm(across.mean(0)) < 5.0 / math.sqrt(4000)


@pytest.mark.parametrize(("dim", "kappa"), [(3, 5.0), (64, 50.0), (64, 800.0)])
def test_fitted_kappa_is_scipys_fit_and_near_the_truth(dim: int, kappa: float) -> None:
    rng = np.random.default_rng(4)
    mu = np.eye(dim)[1]
    d = vmf.sample(np.broadcast_to(mu, (20_000, dim)), kappa, rng)  # type: ignore[arg-type]
    found = vmf.fit_kappa(dim, float(np.linalg.norm(d.mean(0))))
    _, foreign = stats.vonmises_fisher.fit(d)
    # Both solve to rounding: 1e-12 seen. Then statistics: 0.5 % seen.
    assert found == pytest.approx(foreign, rel=1e-6)
    assert found == pytest.approx(kappa, rel=0.05)


def test_fit_inverts_the_resultant_over_the_whole_range() -> None:
    for dim in (2, 64, 4096):
        for kappa in (1e-3, 1.0, 50.0, 800.0, 2e4):
            resultant = float(vmf.mean_resultant(dim, torch.tensor(kappa, dtype=torch.float64)))
            # 1 − r cancels at large kappa: 2⁻⁵³ · kappa; 2e-7 seen.
            assert vmf.fit_kappa(dim, resultant) == pytest.approx(kappa, rel=1e-5)


def test_the_sheets_gain_of_about_195_nats() -> None:
    assert vmf.gain_nats(512, 800.0) == pytest.approx(195.0, abs=0.5)


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: vmf.log_area(1), "the dimension is 1"),
        (lambda: vmf.fit_kappa(8, 1.0), "mean cosine is 1.0"),
        (lambda: vmf.sample_cosine(8, np.array([np.nan]), np.random.default_rng(0)), "kappa must be finite"),
    ],
)
def test_bad_input_is_named(call, part: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CspaceError, match=part):
        call()
