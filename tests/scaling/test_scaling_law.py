from dataclasses import replace

import numpy as np
import pytest
from scaling_sweeps import TARGET, TRUTH, WEIGHTS, clear_law, fit_config, simulate, true_best, true_loss

from hephaestus_dag.scaling.law import effective_share, fit_domain, fit_power_laws
from hephaestus_dag.scaling.noise import Table, fit_domains, seed_noise_of
from hephaestus_dag.scaling.optimum import Scale, fit_law, minimum, objective_curve

GRID = np.linspace(0.17, 0.84, 671)
NO_REPEATS = (np.inf, np.inf, np.inf)


def best_by_fit(noise: float, seed: int) -> float:
    table = Table.of(simulate(noise, seed, replicates=False))
    laws = fit_domains(table, np.eye(3) * noise**2)
    scale = Scale(params=TARGET.params, tokens=TARGET.tokens, unique=NO_REPEATS)
    return minimum(GRID, objective_curve(laws, WEIGHTS, scale, GRID, 0.5))


@pytest.mark.parametrize(("noise", "allowed"), [(0.003, 0.012), (0.010, 0.04)])
def test_the_best_ratio_of_a_known_law_is_found_far_beyond_the_ladder(noise, allowed):
    truth = true_best(TARGET.params, TARGET.tokens)
    errors = [best_by_fit(noise, seed) - truth for seed in range(8)]
    assert np.sqrt(np.mean(np.square(errors))) < allowed


def test_the_joint_fit_beats_one_power_law_per_ratio():
    truth = true_best(TARGET.params, TARGET.tokens)
    law = clear_law()
    assert law.power_law_ratio is not None
    assert abs(law.target.ratio - truth) < abs(law.power_law_ratio - truth)


def test_without_noise_the_losses_are_reproduced():
    table = Table.of(simulate(0.0, seed=0))
    laws = fit_domains(table, np.zeros((3, 3)))
    for i, domain in enumerate(TRUTH):
        fitted = laws[domain].predict(table.params, table.tokens, table.effective[:, i])
        assert np.abs(fitted - table.losses[:, i]).max() < 1e-3


def test_one_broken_run_does_not_move_the_fit():
    table = Table.of(simulate(0.003, seed=0))
    x, losses = table.effective[:, 0], table.losses[:, 0].copy()
    clean = fit_domain(table.params, table.tokens, x, losses, 0.003)
    losses[8] += 0.15
    odd = fit_domain(table.params, table.tokens, x, losses, 0.003)
    at = (np.asarray(350e6), np.asarray(7e9), np.asarray(0.5))
    assert abs(odd.predict(*at) - clean.predict(*at)) < 0.005


def test_intervals_hold_the_truth_and_grow_with_noise():
    truth = true_best(TARGET.params, TARGET.tokens)
    low_noise, high_noise = clear_law().target, fit_law(simulate(0.012, seed=0), fit_config()).target
    width = [o.interval[1] - o.interval[0] for o in (low_noise, high_noise)]
    assert low_noise.interval[0] < truth < low_noise.interval[1]
    assert 2 < width[1] / width[0] < 8
    assert low_noise.regret_band[0] <= low_noise.ratio <= low_noise.regret_band[1]


def test_seed_noise_comes_from_repeated_seeds():
    variances = []
    for seed in range(10):
        pairs = [run for s in (seed, seed + 100) for run in simulate(0.01, s, replicates=False)]
        covariance, repeats = seed_noise_of(Table.of(pairs))
        assert repeats == 24
        variances.append(np.diag(covariance))
    assert np.sqrt(np.mean(variances, axis=0)) == pytest.approx([0.01] * 3, rel=0.1)


def test_a_bad_start_reaches_the_same_fit():
    table = Table.of(simulate(0.003, seed=0))
    arguments = (table.params, table.tokens, table.effective[:, 0], table.losses[:, 0], 0.003)
    best = fit_domain(*arguments)
    again = fit_domain(*arguments, start=replace(best, alpha=2 * best.alpha, gamma=best.gamma / 3, epsilon=4 * best.epsilon))
    assert again.exponents == pytest.approx(best.exponents, abs=0.02)


def test_a_power_law_per_ratio_recovers_its_exponent():
    flops = np.tile(np.geomspace(1e15, 1e19, 6), 2)
    ratios = np.repeat([0.2, 0.4], 6)
    alphas = np.where(ratios == 0.2, 0.08, 0.15)
    laws = fit_power_laws(ratios, flops, 1.5 + 0.6 * (flops / 1e17) ** -alphas)
    assert [law.alpha for law in laws] == pytest.approx([0.08, 0.15], rel=1e-3)
    assert [law.irreducible for law in laws] == pytest.approx([1.5, 1.5], abs=2e-3)


def test_repeated_tokens_count_less_and_less():
    share, unique = np.asarray(0.5), np.asarray(100.0)
    budgets = np.array([100.0, 200.0, 400.0, 1e3, 1e5])
    effective = effective_share(share, budgets, unique) * budgets
    assert effective[:2] == pytest.approx([50, 100])
    assert 190 < effective[2] < 200
    assert np.all(np.diff(effective) > 0)
    assert effective[-1] == pytest.approx(100 * (1 + 15.4), rel=1e-3)
    assert effective_share(share, budgets, np.asarray(np.inf)) == pytest.approx(0.5)


def test_scarce_agent_data_at_the_target_lower_the_best_ratio():
    law = clear_law()
    plenty = law.target.scale
    scarce = replace(plenty, unique=(2e9, np.inf, np.inf))
    assert minimum(law.grid, law.curve(scarce)) < minimum(law.grid, law.curve(plenty)) - 0.02


def test_one_token_budget_for_all_sizes_is_enough_to_fit():
    runs = [replace(r, tokens=1e9, flops=6e9 * r.params) for r in simulate(0.003, seed=0)]
    table = Table.of(runs)
    laws = fit_domains(table, np.eye(3) * 0.003**2)
    assert all(law.converged for law in laws.values())
    assert laws["agent"].beta == pytest.approx(0.37)  # nothing but the prior speaks


def test_the_truth_of_these_tests_has_an_interior_minimum():
    assert 0.2 < true_best(TARGET.params, TARGET.tokens) < 0.6
    assert true_loss("agent", 1e8, 2e9, 0.2) > true_loss("agent", 1e8, 2e9, 0.3)
