import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from scaling_sweeps import RATIOS, clear_study, fit_config, simulate, true_best

from hephaestus_dag.scaling.config import GeneralLoss
from hephaestus_dag.scaling.decision import Decision, best_ratio, chosen_ratio, decide
from hephaestus_dag.scaling.study import study


def judge(runs, **changes):
    config = fit_config(**changes)
    return decide(study(runs, config), config)


def test_a_clear_minimum_is_supported():
    decision = decide(clear_study(), fit_config())
    assert decision.status == "supported"
    assert decision.reasons == []
    assert decision.agent_ratio == pytest.approx(true_best(8e9, 160e9), abs=0.03)


def test_a_minimum_at_the_edge_asks_for_ratios_beyond_it():
    decision = judge(simulate(0.003, seed=0, ratios=(0.50, 0.55, 0.6, 0.66, 0.7, 0.84)))
    assert decision.agent_ratio is None
    assert any(
        "lowest objective is at the edge of the ratios tried (0.50)" in r and "at ratio 0.25 at every size" in r
        for r in decision.reasons
    )


def test_noise_asks_for_more_cells():
    decision = judge(simulate(0.06, seed=2))
    assert decision.status == "no supported optimum"
    assert any("wide, at most 0.20 allowed: add about" in r for r in decision.reasons)


def test_losses_that_do_not_depend_on_the_ratio_say_so():
    rng = np.random.default_rng(0)
    runs = [
        replace(r, losses={d: 2.0 + 1e6 / r.params + 0.003 * rng.standard_normal() for d in r.losses})
        for r in simulate(0.0, seed=0)
    ]
    assert any("cannot tell ratios apart" in reason for reason in judge(runs).reasons)


def test_few_runs_without_repeated_seeds_ask_for_them():
    runs = [r for r in simulate(0.003, seed=0, replicates=False) if r.shares["agent"] in RATIOS[::2]]
    reasons = " ".join(judge(runs).reasons)
    assert "12 finished runs (4 sizes x 3 mixtures), 24 wanted: add 12 cells" in reasons
    assert "0 repeated seeds, 4 wanted" in reasons
    assert "cheapest at 4.5e+07 parameters" in reasons


def test_runs_of_one_size_say_that_losses_at_another_cannot_be_told():
    runs = [replace(r, params=1e8) for r in simulate(0.003, seed=0, replicates=False)]
    assert any("all runs have one scale (1e+08 parameters)" in reason and "add at least one other" in reason
               for reason in judge(runs).reasons)  # fmt: skip


def test_a_scale_that_the_smaller_ones_do_not_foretell_is_reported():
    runs = [
        replace(r, losses={d: loss + 0.08 for d, loss in r.losses.items()}) if r.params > 6e8 else r for r in simulate(0.003, 0)
    ]
    assert any("runs of 6.5e+08 parameters are predicted" in reason for reason in judge(runs).reasons)


def test_losses_far_below_one_are_told_in_significant_digits():
    found = clear_study()
    assert found.backtest is not None
    tiny = replace(found, backtest=replace(found.backtest, mean_error=1.23e-6))
    small = replace(tiny.law, seed_covariance=1e-14 * np.eye(3))
    reasons = " ".join(decide(replace(tiny, law=small), fit_config()).reasons)
    assert "predicted 1.23e-06 off, more than 2 x the noise 6.12e-08" in reasons


def test_a_best_ratio_that_hangs_on_the_largest_size_is_reported():
    found = clear_study()
    assert found.backtest is not None
    assert found.backtest.ratio is not None
    shifted = replace(found, backtest=replace(found.backtest, ratio_without=found.backtest.ratio + 0.1))
    assert any("moves by 0.10, at most 0.05" in reason for reason in decide(shifted, fit_config()).reasons)


def test_two_sizes_cannot_tell_a_third_and_mixtures_are_left_out_instead():
    config = fit_config()
    found = study([r for r in simulate(0.003, seed=0) if r.params < 2e8], config)
    assert found.backtest is not None
    assert not found.backtest.extrapolates
    assert found.backtest.rank_correlation > 0.8
    assert any("third size" in reason for reason in decide(found, config).reasons)


def test_repetition_that_the_proxies_never_saw_is_reported():
    found = clear_study()
    scarce = replace(found.target.scale, unique=(1e9, np.inf, np.inf))
    found = replace(found, optima=[*found.optima[:-1], replace(found.target, scale=scarce)])
    reasons = decide(found, fit_config()).reasons
    assert any("repeats its agent data" in reason and "run the sweep on a sample" in reason for reason in reasons)


def test_the_most_agent_data_that_general_losses_allow():
    general = GeneralLoss(weights={"code": 0.5, "text": 0.5}, max_rise=0.02)
    config = fit_config(general_loss=general, best="constrained")
    found = study(simulate(0.0, seed=0), config)
    ratio = best_ratio(found, config)
    assert ratio is not None
    assert found.target.constrained_interval is not None
    low, high = found.target.constrained_interval
    assert low <= ratio <= high
    looser = fit_config(general_loss=general.model_copy(update={"max_rise": 0.05}), best="constrained")
    assert (best_ratio(study(simulate(0.0, seed=0), looser), looser) or 0) > ratio + 0.02
    with pytest.raises(ValueError, match="best: constrained needs general_loss"):
        fit_config(best="constrained")


@pytest.mark.parametrize(
    ("rise", "reason"), [(0.9, "allow more than the largest ratio tried (0.84)"), (1e-4, "just above the smallest ratio")]
)
def test_a_bound_that_is_not_met_between_the_ratios_tried_is_reported(rise, reason):
    general = GeneralLoss(weights={"code": 0.5, "text": 0.5}, max_rise=rise)
    assert reason in " ".join(judge(simulate(0.003, seed=0), general_loss=general, best="constrained").reasons)


def test_off_a_line_a_best_share_at_the_most_that_was_tried_is_reported():
    tilted = {"agent": 0.17, "code": 0.8, "text": 0.03}
    low = [r for r in simulate(0.003, seed=0) if r.shares["agent"] < 0.35]
    runs = [*low, *(replace(r, shares=tilted, cell=r.cell + "t") for r in low if r.shares["agent"] == 0.17 and not r.seed)]
    general = GeneralLoss(weights={"code": 1.0}, max_rise=0.02)
    reasons = " ".join(judge(runs, objective={"agent": 1.0}, general_loss=general, best="constrained").reasons)
    assert "best share of agent is the most that was tried (0.30)" in reasons
    assert "best: constrained needs runs in which one share varies" in reasons


def test_losses_that_the_smaller_sizes_lack_do_not_stop_the_study():
    objective = {"agent": 0.5, "code": 0.5}
    whole = simulate(0.003, seed=0)
    runs = [r if r.params > 6e8 else replace(r, losses={d: r.losses[d] for d in objective}) for r in whole]
    found = study(runs, fit_config(objective=objective))
    assert found.backtest is not None
    assert found.backtest.extrapolates
    apart = [replace(r, losses={d: r.losses[d]}) for i, r in enumerate(whole) for d in [("agent", "code")[i % 2]]]
    assert study(apart, fit_config(objective=objective)).backtest is None


def test_an_objective_over_a_loss_that_was_not_measured_is_refused():
    with pytest.raises(ValueError, match="no loss benchmark; choose from agent, code, text"):
        study(simulate(0.003, seed=0), fit_config(objective={"agent": 0.5, "benchmark": 0.5}))


def test_without_support_the_fallback_is_used_and_without_fallback_it_stops(tmp_path):
    refused = Decision("no supported optimum", None, ["too few runs: add 12 cells"])
    (tmp_path / "law.json").write_text(json.dumps({"decision": asdict(refused)}))
    ratio, reason = chosen_ratio(tmp_path, fallback=0.36)
    assert ratio == 0.36
    assert "fallback" in reason
    with pytest.raises(ValueError, match=r"add 12 cells.*fallback_agent_ratio"):
        chosen_ratio(tmp_path, fallback=None)


def test_weights_must_sum_to_one():
    with pytest.raises(ValueError, match=r"objective: weights must be >= 0 and sum to 1, not 1.5; rescale"):
        fit_config(objective={"agent": 1.0, "code": 0.5})
    with pytest.raises(ValueError, match=r"general_loss.weights: weights must be >= 0 and sum to 1, not 2"):
        GeneralLoss(weights={"code": 1.0, "text": 1.0}, max_rise=0.02)


def test_the_budgets_of_one_repeated_run_count_as_one_repeat():
    runs = simulate(0.003, seed=0, replicates=False)
    again = [replace(run, seed=1, cell=f"{run.cell}-again") for run in runs[:2]]
    longer = [replace(run, tokens=2 * run.tokens, cell=f"{run.cell}-longer") for run in (*runs, *again)]
    found = study([*runs, *again, *longer], fit_config())
    assert any(reason.startswith("2 repeated seeds, 4 wanted") for reason in decide(found, fit_config()).reasons)
