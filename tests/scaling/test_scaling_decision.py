import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from scaling_sweeps import RATIOS, clear_law, fit_config, simulate

from hephaestus_dag.scaling.decision import Decision, chosen_ratio, decide
from hephaestus_dag.scaling.optimum import fit_law


def judge(runs, **changes):
    config = fit_config(**changes)
    return decide(fit_law(runs, config), config)


def test_a_clear_minimum_is_supported():
    decision = decide(clear_law(), fit_config())
    assert decision.status == "supported"
    assert decision.reasons == []
    assert decision.agent_ratio == pytest.approx(0.316, abs=0.03)


def test_a_minimum_at_the_edge_asks_for_ratios_beyond_it():
    decision = judge(simulate(0.003, seed=0, ratios=(0.43, 0.5, 0.57, 0.64, 0.7, 0.84)))
    assert decision.agent_ratio is None
    assert any(
        "lowest objective is at the edge of the ratios tried (0.43)" in r and "at ratio 0.21 at every size" in r
        for r in decision.reasons
    )


def test_noise_asks_for_more_cells():
    decision = judge(simulate(0.06, seed=2))
    assert decision.status == "no supported optimum"
    assert any("wide, at most 0.20 allowed: add about" in r for r in decision.reasons)


def test_losses_that_do_not_depend_on_the_ratio_say_so():
    runs = [replace(r, losses=dict.fromkeys(r.losses, 2.0 + 1000000.0 / r.params)) for r in simulate(0.0, seed=0)]
    assert any("cannot tell ratios apart" in reason for reason in judge(runs).reasons)


def test_few_runs_without_repeated_seeds_ask_for_them():
    runs = [r for r in simulate(0.003, seed=0, replicates=False) if r.shares["agent"] in RATIOS[::2]]
    reasons = " ".join(judge(runs).reasons)
    assert "12 finished runs (4 sizes x 3 ratios), 24 wanted: add 12 cells" in reasons
    assert "0 repeated seeds, 4 wanted" in reasons
    assert "cheapest at 4.5e+07 parameters" in reasons


def test_a_scale_that_the_smaller_ones_do_not_foretell_is_reported():
    runs = [
        replace(r, losses={d: loss + 0.08 for d, loss in r.losses.items()}) if r.params > 6e8 else r for r in simulate(0.003, 0)
    ]
    assert any("6.5e+08-parameter runs are predicted" in reason for reason in judge(runs).reasons)


def test_a_best_ratio_that_hangs_on_the_largest_size_is_reported():
    law = clear_law()
    assert law.backtest is not None
    shifted = replace(law, backtest=replace(law.backtest, ratio_without=law.backtest.ratio + 0.1))
    assert any("moves by 0.10, at most 0.05" in reason for reason in decide(shifted, fit_config()).reasons)


def test_two_sizes_cannot_be_backtested():
    assert any("third size" in reason for reason in decide(replace(clear_law(), backtest=None), fit_config()).reasons)
    assert fit_law([r for r in simulate(0.003, seed=0) if r.params < 2e8], fit_config()).backtest is None


def test_repetition_that_the_proxies_never_saw_is_reported():
    law = clear_law()
    scarce = replace(law.target.scale, unique=(1e9, np.inf, np.inf))
    law = replace(law, optima=[*law.optima[:-1], replace(law.target, scale=scarce)])
    reasons = decide(law, fit_config()).reasons
    assert any("repeats its agent data" in reason and "run the sweep on a sample" in reason for reason in reasons)


def test_without_support_the_fallback_is_used_and_without_fallback_it_stops(tmp_path):
    refused = Decision("no supported optimum", None, ["too few runs: add 12 cells"])
    (tmp_path / "law.json").write_text(json.dumps({"decision": asdict(refused)}))
    ratio, reason = chosen_ratio(tmp_path, fallback=0.36)
    assert ratio == 0.36
    assert "fallback" in reason
    with pytest.raises(ValueError, match=r"add 12 cells.*fallback_agent_ratio"):
        chosen_ratio(tmp_path, fallback=None)
