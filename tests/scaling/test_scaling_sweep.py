import json
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scaling_sweeps import fit_config, rung, sweep_config

from hephaestus_dag.scaling.config import ScalingConfig
from hephaestus_dag.scaling.sweep import Cell, plan_sweep


def test_a_cell_names_its_rung_ratio_and_seed():
    cells = plan_sweep(sweep_config())
    assert len(cells) == 3 * 4 + 2
    assert [c.name for c in cells[:4]] == ["0.1M-a17-s0", "0.1M-a36-s0", "0.1M-a36-s1", "0.1M-a36-s2"]
    assert cells[1].key == "0_1M_a36_s0"
    assert cells[1].shares == pytest.approx({"agent": 0.36, "code": 0.32, "text": 0.32})


def test_ratios_between_whole_percents_keep_their_names():
    cells = plan_sweep(sweep_config(agent_ratios=[0.17, 0.355, 0.365, 0.84], replicates=[]))
    assert [c.name for c in cells[1:3]] == ["0.1M-a35.5-s0", "0.1M-a36.5-s0"]


def test_parameters_are_those_of_the_transformers_model():
    transformers = pytest.importorskip("transformers")
    shape = rung("0.2M", 64, layers=3)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=32,
            hidden_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=192,
            tie_word_embeddings=True,
        )
    )
    assert shape.params == sum(p.numel() for p in model.parameters()) - 32 * 64


def test_larger_models_learn_slower_and_see_more():
    small, large = (c for c in plan_sweep(sweep_config()) if c.agent_ratio == 0.17 and c.rung.name != "0.2M")
    assert small.learning_rate == 0.01  # capped
    assert large.tokens == 20 * large.rung.params > small.tokens
    far = plan_sweep(sweep_config(ladder=[rung("1", 64), rung("2", 96), rung("3", 4096, layers=24)], replicates=[]))[-1]
    assert far.learning_rate == pytest.approx(0.00235 * (far.rung.params / 108e6) ** (-1 / 3))


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.integers(10, 120), min_size=4, max_size=8),
    code_share=st.floats(0, 1),
    names=st.lists(
        st.from_regex(r"[A-Za-z0-9]{1,3}(\.[A-Za-z0-9]{1,3})?", fullmatch=True), min_size=3, max_size=3, unique=True
    ),
    seeds=st.sets(st.integers(1, 50), min_size=1, max_size=4),
)
def test_shares_sum_to_one_and_names_are_unique(steps, code_share, names, seeds):
    ratios = [sum(steps[: i + 1]) / 1000 for i in range(len(steps))]
    if ratios[-1] >= 1:
        ratios = [r / (ratios[-1] * 1.01) for r in ratios]
    assume(all(b - a >= 0.01 for a, b in pairwise(ratios)))
    config = sweep_config(
        ladder=[rung(name, width) for name, width in zip(names, (64, 96, 128), strict=True)],
        agent_ratios=ratios,
        code_share_of_rest=code_share,
        replicates=[{"rung": names[1], "agent_ratio": ratios[2], "seeds": sorted(seeds)}],
    )
    cells = plan_sweep(config)
    assert len({c.name for c in cells}) == len({c.key for c in cells}) == len(cells) == 3 * len(ratios) + len(seeds)
    for cell in cells:
        assert sum(cell.shares.values()) == pytest.approx(1, abs=1e-12)
        assert min(cell.shares.values()) >= 0
        assert Cell.model_validate(json.loads(json.dumps(cell.model_dump(mode="json")))) == cell


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ladder": [rung("a", 64), rung("b", 96)]}, "at least 3"),
        ({"ladder": [rung("a", 64), rung("a", 96), rung("c", 128)]}, "same name"),
        ({"ladder": [rung("a", 96), rung("b", 64), rung("c", 128)]}, "more parameters than the one before"),
        ({"agent_ratios": [0.2, 0.4, 0.3, 0.5]}, "ascend"),
        ({"agent_ratios": [0, 0.2, 0.36, 0.5]}, "strictly between 0 and 1"),
        ({"tokens_per_cell": 1000}, "exactly one of"),
        ({"tokens_per_parameter": None}, "exactly one of"),
        ({"replicates": [{"rung": "9M", "agent_ratio": 0.36, "seeds": [1]}]}, "not in the ladder"),
        ({"replicates": [{"rung": "0.1M", "agent_ratio": 0.5, "seeds": [1]}]}, "not one of agent_ratios"),
        ({"replicates": [{"rung": "0.1M", "agent_ratio": 0.36, "seeds": [0]}]}, "already used"),
    ],
)
def test_an_impossible_sweep_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        sweep_config(**changes)


def test_objective_weights_must_sum_to_one():
    with pytest.raises(ValidationError, match="sum to 1"):
        fit_config(objective={"agent": 0.5, "code": 0.2})
    with pytest.raises(ValidationError, match="200"):
        fit_config(bootstrap_draws=50)
    config = ScalingConfig(sweep=sweep_config(), fit=fit_config(), fallback_agent_ratio=0.36, threads=1)
    assert ScalingConfig.model_validate(config.model_dump()) == config
