from dataclasses import replace

import numpy as np
import pytest
from scaling_sweeps import SIZES, TARGET, WEIGHTS, shares_at, simulate, true_best, true_loss

from hephaestus_dag.scaling.families import EXPONENTIAL, JOINT
from hephaestus_dag.scaling.law import Law, fit_law
from hephaestus_dag.scaling.optimum import Scale, best_mixture
from hephaestus_dag.scaling.power_law import fit_power_laws, power_law_ratio
from hephaestus_dag.scaling.runs import Run
from hephaestus_dag.scaling.table import Table, seed_noise

SCALE = Scale(params=TARGET.params, tokens=TARGET.tokens, unique=(np.inf,) * 3)


def weights_of(law: Law) -> np.ndarray:
    return np.array([WEIGHTS[name] for name in law.table.names])


def ratio(law: Law, scale: Scale = SCALE) -> float:
    return best_mixture(law, weights_of(law), scale).shares["agent"]


def interval(law: Law) -> tuple[float, float]:
    return best_mixture(law, weights_of(law), SCALE).intervals["agent"]


def law_of(noise: float, seed: int = 0, draws: int = 0) -> Law:
    return fit_law(Table.of(simulate(noise, seed)), draws, seed)


@pytest.mark.parametrize(("noise", "allowed"), [(0.003, 0.012), (0.010, 0.04)])
def test_the_best_ratio_of_a_known_law_is_found_far_beyond_the_ladder(noise, allowed):
    truth = true_best(TARGET.params, TARGET.tokens)
    errors = [ratio(law_of(noise, seed)) - truth for seed in range(3)]
    assert np.sqrt(np.mean(np.square(errors))) < allowed


def test_the_fit_beats_one_power_law_per_ratio():
    truth = true_best(TARGET.params, TARGET.tokens)
    ours, paper = [], []
    for seed in range(3):
        law = law_of(0.005, seed)
        table = law.table
        powers = fit_power_laws(table.shares[:, 0], table.flops, table.losses @ weights_of(law))
        ours.append(ratio(law) - truth)
        paper.append((power_law_ratio(powers, SCALE.flops) or 0) - truth)
    assert np.square(ours).mean() < 0.25 * np.square(paper).mean()


def test_without_noise_the_losses_are_reproduced_and_extrapolated():
    law = fit_law(Table.of(simulate(0.0, 0)), 0, families=[JOINT])
    table = law.table
    assert law.predict(table.params, table.tokens, table.effective) == pytest.approx(table.losses, abs=1e-3)
    params, tokens, shares = SCALE.arguments(np.array([[0.4, 0.3, 0.3]]))
    expected = [true_loss(name, TARGET.params, TARGET.tokens, share) for name, share in shares_at(0.4).items()]
    assert law.predict(params, tokens, shares)[0] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("family", [JOINT, EXPONENTIAL], ids=lambda family: family.name)
@pytest.mark.parametrize(
    "known", [(1.69, 406.4, 0.34, 410.7, 0.28), (1.8172, 482.01, 0.3478, 2085.43, 0.3658)], ids=["published", "refitted"]
)
def test_the_published_chinchilla_constants_are_recovered(known, family):
    e, a, alpha, b, beta = known
    runs = [
        Run(
            cell=f"{n:g}-{d:g}",
            params=n,
            tokens=d,
            flops=6 * n * d,
            shares={"a": share, "b": 1 - share},
            losses={"all": e + a * n**-alpha + b * d**-beta},
        )
        for i, n in enumerate(np.geomspace(44e6, 16e9, 6))
        for j, d in enumerate(np.geomspace(5e9, 500e9, 5))
        for share in [(0.3, 0.5, 0.7)[(i + j) % 3]]
    ]
    fitted = fit_law(Table.of(runs), 0, families=[family]).families[0]
    found = family.named(fitted.losses[0].p, ("a", "b"))
    data = float(fitted.predict(np.array([1e30]), np.array([fitted.d0]), np.array([[0.5, 0.5]]))[0, 0]) - found["E"]
    constants = [found["E"], found["A"] * fitted.n0 ** found["alpha"], found["alpha"], data * fitted.d0 ** found["beta"]]
    assert [*constants, found["beta"]] == pytest.approx(known, rel=0.01)


def test_one_broken_run_does_not_move_the_fit():
    runs = simulate(0.003, 0)
    broken = [
        replace(run, losses=run.losses | {"agent": run.losses["agent"] + 0.15}) if i == 8 else run for i, run in enumerate(runs)
    ]
    at = SCALE.arguments(np.array([[0.5, 0.25, 0.25]]))
    clean, odd = (fit_law(Table.of(given), 0, families=[JOINT]).predict(*at) for given in (runs, broken))
    assert odd == pytest.approx(clean, abs=0.01)


def test_seed_noise_comes_from_repeated_seeds():
    runs = [run for run in simulate(0.0, 0) if run.seed == 0]
    rng = np.random.default_rng(0)
    again = [
        replace(
            run,
            cell=f"{run.cell}{seed}",
            seed=seed,
            losses={name: loss + rng.normal(scale=0.02) for name, loss in run.losses.items()},
        )
        for run in runs[:12]
        for seed in range(8)
    ]
    covariance, repeats = seed_noise(Table.of(again))
    assert repeats == 12 * 7
    assert np.sqrt(np.diag(covariance)) == pytest.approx(0.02, rel=0.2)
    assert seed_noise(Table.of(runs))[1] == 0


def test_a_loss_missing_in_some_cells_is_fitted_from_the_others():
    runs = simulate(0.003, 0)
    holes = [
        replace(r, losses={k: v for k, v in r.losses.items() if k != "code"}) if i % 3 == 0 else r for i, r in enumerate(runs)
    ]
    full, some = fit_law(Table.of(runs), 0), fit_law(Table.of(holes), 20)
    assert np.isnan(some.table.losses).sum() == 10
    assert ratio(some) == pytest.approx(ratio(full), abs=0.03)
    assert np.isfinite(some.covariance).all()


def mixed_runs(noise: float) -> list[Run]:
    """Runs with a loss of no domain, a domain without a loss, and shares that are zero in many rows."""
    rng = np.random.default_rng(0)
    runs = []
    for n in (1e7, 4e7, 1.6e8):
        for mixture in rng.dirichlet([0.4] * 4, 16):
            mixture = np.where(mixture < 0.05, 0, mixture) / mixture[mixture >= 0.05].sum()
            size = 0.8 * (n / 1e7) ** -0.3
            losses = {name: 1.5 + size + 0.4 * (mixture[j] + 0.05) ** -0.4 for j, name in enumerate("abc")}
            losses["all"] = 2 + size - 0.3 * mixture[1] - 0.1 * mixture[3]
            losses = {name: loss + noise * rng.normal() for name, loss in losses.items()}
            shares = dict(zip("abcd", mixture.tolist(), strict=True))
            runs.append(Run(cell=f"{len(runs)}", params=n, tokens=20 * n, flops=120 * n * n, shares=shares, losses=losses))
    return runs


def test_zero_shares_losses_without_a_share_and_domains_without_a_loss_are_fitted():
    table = Table.of(mixed_runs(0.003))
    assert (table.shares == 0).mean() > 0.25
    law = fit_law(table, 20)
    assert law.families[0].family.name == "joint"
    predicted = law.families[0].predict(table.params, table.tokens, table.effective)
    assert np.abs(predicted - table.losses).mean(0).max() < 0.02
    assert np.isfinite(law.drawn(table.params, table.tokens, table.effective)).all()
    assert all(loss.converged for family in law.families for loss in family.losses)


def test_checkpoints_of_one_run_count_for_less_the_earlier_they_are():
    runs = [
        replace(run, tokens=run.tokens * part, cell=f"{run.cell}{part}")
        for run in simulate(0.003, 0)
        for part in (0.25, 0.5, 1)
    ]
    table = Table.of(runs)
    assert len(np.unique(table.run)) == len(runs) / 3
    discount = {round(t / n, 6): float(x) for t, n, x in zip(table.tokens, table.params, table.discount, strict=True)}
    assert discount[20] == 1
    assert discount[10] == pytest.approx(np.sqrt(1 + 2 * np.log(2) ** 2))
    assert discount[5] > discount[10]
    assert Table.of(simulate(0.003, 0)).discount == pytest.approx(1.0)


def test_intervals_hold_the_truth_and_grow_with_noise():
    truth = true_best(TARGET.params, TARGET.tokens)
    ends = [interval(law_of(noise, draws=100)) for noise in (0.003, 0.012)]
    assert all(low < truth < high for low, high in ends)
    width = [high - low for low, high in ends]
    assert 2 < width[1] / width[0] < 12


def test_the_same_seed_gives_the_same_draws():
    table, at = Table.of(simulate(0.01, 0)), SCALE.arguments(np.array([[0.4, 0.3, 0.3]]))
    first, same, other = (fit_law(table, 20, seed, [JOINT]).drawn(*at) for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_scarce_agent_data_at_the_target_lower_the_best_ratio():
    law = law_of(0.003)
    assert ratio(law, replace(SCALE, unique=(2e9, np.inf, np.inf))) < ratio(law) - 0.02


def test_one_token_budget_for_all_sizes_leaves_the_exponent_of_tokens_to_the_prior():
    runs = [replace(run, tokens=1e9, flops=6e9 * run.params) for run in simulate(0.003, seed=0)]
    for loss in fit_law(Table.of(runs), 0, families=[JOINT]).families[0].losses:
        assert loss.converged
        assert JOINT.named(loss.p, ("agent", "code", "text"))["beta"] == pytest.approx(0.37)


def test_with_one_size_the_scaled_law_says_nothing_of_its_own():
    runs = [run for run in simulate(0.003, 0) if run.params == SIZES[0]]
    law = fit_law(Table.of(runs), 0)
    assert law.one_scale
    assert "scaled" not in law.scatter


@pytest.mark.slow
def test_the_nominal_interval_holds_the_truth_as_often_as_it_says():
    truth = true_best(TARGET.params, TARGET.tokens)
    ends = np.array([interval(law_of(0.005, seed, 200)) for seed in range(30)])
    assert 0.88 <= np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])) <= 1.0
