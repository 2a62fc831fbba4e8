import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.scaling.families import EXPONENTIAL, JOINT, SCALED, Family
from hephaestus_dag.scaling.fitting import Points, fit_loss
from hephaestus_dag.scaling.table import REPETITION_DECAY, effective_share

FAMILIES = pytest.mark.parametrize("family", [JOINT, SCALED, EXPONENTIAL], ids=lambda family: family.name)


def arguments(rows: int = 9, domains: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(domains), rows)
    shares[::3, 1], shares[1, :] = 0.0, [0, 0, 0, 1]
    return rng.normal(size=rows), rng.normal(size=rows), shares / shares.sum(1, keepdims=True)


def parameters(family: Family, batch: tuple[int, ...]) -> np.ndarray:
    mean, spread = family.prior(np.linspace(2, 3, 20), 4, own=2, on_line=False)
    return mean + spread * np.random.default_rng(1).normal(scale=0.5, size=(*batch, len(mean)))


@FAMILIES
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_slopes_are_the_derivatives_by_the_parameters(family, batch):
    n, d, x = arguments()
    p = parameters(family, batch)
    value, slopes = family.slopes(p, n, d, x)
    assert value.shape == (*batch, 9)
    assert value == pytest.approx(family.curve(p, n, d, x))
    for k in range(p.shape[-1]):
        step = np.zeros(p.shape[-1])
        step[k] = 1e-5
        expected = (family.curve(p + step, n, d, x) - family.curve(p - step, n, d, x)) / 2e-5
        assert slopes[..., k] == pytest.approx(expected, abs=1e-7, rel=1e-5)


@FAMILIES
def test_pull_is_the_derivative_by_the_shares(family):
    n, d, x = arguments()
    p, x = parameters(family, (3,)), x + 0.01
    for j in range(x.shape[1]):
        step = np.zeros(x.shape[1])
        step[j] = 1e-6
        expected = (family.curve(p, n, d, x + step) - family.curve(p, n, d, x - step)) / 2e-6
        assert family.pull(p, n, d, x)[..., j] == pytest.approx(expected, rel=1e-4)


@FAMILIES
def test_parameters_have_the_names_of_the_formula(family):
    n, d, x = (column[:1] for column in arguments())
    p = parameters(family, ())
    found = family.named(p, ("a", "b", "c", "d"))
    size, data = found["A"] * np.exp(-found["alpha"] * n), found["B"] * np.exp(-found["beta"] * d)
    if family.exponential:
        expected = found["E"] + size + data * np.exp(sum(found[f"t[{name}]"] * x[0, j] for j, name in enumerate("abcd")))
    else:
        reach = sum(found[f"T[{name}]"] * x[0, j] ** found["rho"] for j, name in enumerate("abcd")) + found["epsilon"]
        g = reach ** -found["gamma"]
        expected = (found["E"] + size + data) * g if family.scaled else found["E"] + size + data * g
    assert family.curve(p, n, d, x) == pytest.approx(expected)


@settings(max_examples=5, deadline=None)
@given(alpha=st.floats(0.25, 0.5), beta=st.floats(0.25, 0.5), gamma=st.floats(0.2, 0.8))
def test_a_known_joint_law_is_recovered_from_losses_without_noise(alpha, beta, gamma):
    n, d, share = (
        axis.ravel() for axis in np.meshgrid(np.linspace(-2, 2, 5), np.linspace(-1.5, 1.5, 4), [0.15, 0.3, 0.5, 0.8])
    )
    losses = 1.4 + 0.5 * np.exp(-alpha * n) + 0.4 * np.exp(-beta * d) * (share + 0.02) ** -gamma
    points = Points(n=n, d=d, shares=np.stack([share, 1 - share], -1), losses=losses, discount=np.ones_like(n))
    fitted = fit_loss(JOINT, points, own=0, floor=0.0, on_line=True)
    found = JOINT.named(fitted.p, ("a", "b"))
    assert fitted.converged
    assert [found[name] for name in ("E", "A", "alpha", "beta")] == pytest.approx([1.4, 0.5, alpha, beta], rel=0.01)
    assert JOINT.curve(fitted.p, n, d, points.shares) == pytest.approx(losses, abs=5e-4)


@settings(deadline=None)
@given(
    share=st.floats(0.01, 1),
    unique=st.floats(1e6, 1e12),
    tokens=st.floats(1e6, 1e13),
    more=st.floats(1.01, 10),
    cut=st.floats(0.1, 0.99),
)
def test_repeated_tokens_count_less_and_less(share, unique, tokens, more, cut):
    def worth(share: float, tokens: float) -> float:
        return float(effective_share(np.asarray(share), np.asarray(tokens), np.asarray(unique)) * tokens)

    assert worth(share, tokens) <= min(share * tokens, unique * (1 + REPETITION_DECAY)) * (1 + 1e-9)
    assert worth(share, tokens * more) >= worth(share, tokens) * (1 - 1e-9)
    assert worth(share * cut, tokens) <= worth(share, tokens) * (1 + 1e-9)
    once = unique / share
    assert worth(share, once * (1 + 1e-9)) == pytest.approx(unique, rel=1e-6) == worth(share, once * (1 - 1e-9))


def test_four_epochs_are_nearly_as_good_as_fresh_tokens():
    worth = [
        float(effective_share(np.asarray(0.5), np.asarray(2 * epochs * 1e9), np.asarray(1e9)) * 2 * epochs)
        for epochs in (1, 4, 1e4)
    ]
    assert worth[0] == pytest.approx(1.0)
    assert 3.6 < worth[1] < 4.0
    assert worth[2] == pytest.approx(1 + REPETITION_DECAY, rel=1e-3)
