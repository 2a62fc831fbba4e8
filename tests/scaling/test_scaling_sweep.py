import json
import math
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sweep_plans import rung, sweep_config

from hephaestus_dag.scaling.sweep import Cell, plan_starts, plan_sweep, steps_once
from hephaestus_dag.training.config import TrainingConfig
from hephaestus_dag.training.schedule import learning_rate


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
    assert large.budgets == (20 * large.rung.params,)
    assert large.budgets[0] > small.budgets[0]
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
        ({"budgets": [1000]}, "exactly one of"),
        ({"budgets_per_parameter": None}, "exactly one of"),
        ({"budgets_per_parameter": [20, 10]}, "must be positive and ascend"),
        ({"budgets_per_parameter": [0, 10]}, "must be positive and ascend"),
        ({"replicates": [{"rung": "9M", "agent_ratio": 0.36, "seeds": [1]}]}, "not in the ladder"),
        ({"replicates": [{"rung": "0.1M", "agent_ratio": 0.5, "seeds": [1]}]}, "not one of agent_ratios"),
        ({"replicates": [{"rung": "0.1M", "agent_ratio": 0.36, "seeds": [0]}]}, "already used"),
    ],
)
def test_an_impossible_sweep_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        sweep_config(**changes)


PROXY = TrainingConfig(global_batch_sequences=1, micro_batch_sequences=4, learning_rate=1, decay_share=0.25)


def test_the_batch_follows_the_size_in_powers_of_two() -> None:
    config = sweep_config(
        ladder=[rung("1", 64), rung("2", 512, layers=12), rung("3", 8192, layers=40)],
        replicates=[],
    )
    batches = [cell.global_batch_sequences for cell in plan_sweep(config)[::4]]
    for cell, batch in zip(plan_sweep(config)[::4], batches, strict=True):
        wanted = 160 * (cell.rung.params / 108e6) ** (2 / 3)
        assert batch == 512 or wanted / 2**0.5 <= batch <= wanted * 2**0.5
    assert batches[0] < batches[1] < batches[2] == 512


@settings(max_examples=100, deadline=None)
@given(
    budgets=st.lists(st.integers(40, 4000), min_size=1, max_size=3, unique=True),
    decay=st.floats(0.05, 0.6),
    warmup=st.floats(0, 0.3),
    batch=st.sampled_from([1, 2, 4, 8]),
)
def test_branches_have_one_rate_until_they_part(budgets: list[int], decay: float, warmup: float, batch: int) -> None:
    tokens = [32 * each for each in sorted(budgets)]
    rule = {"reference_sequences": batch, "reference_params": 1, "exponent": 0, "maximum": 8}
    config = sweep_config(budgets=tokens, budgets_per_parameter=None, batch=rule, max_warmup_share=warmup, replicates=[])
    cell = plan_sweep(config)[0]
    assume(len({each // (32 * batch) for each in tokens}) == len(tokens))
    branches = cell.branches(PROXY.model_copy(update={"decay_share": decay}), 32)
    rates = [[learning_rate(step, each.steps or 0, each) for step in range(each.steps or 0)] for each in branches]
    assert [len(each) for each in rates] == [each // (32 * batch) for each in tokens]
    parting = branches[0].checkpoint_at
    for at, shorter, longer in zip(parting, rates, rates[1:], strict=False):
        assert shorter[:at] == longer[:at]
        assert shorter[at] < longer[at]
    assert len(parting) == len(branches) - 1
    assert steps_once(branches) == len(rates[-1]) + sum(len(each) - at for each, at in zip(rates, parting, strict=False))


def test_the_warmup_is_a_token_a_parameter_and_the_same_for_all_budgets() -> None:
    rule = {"reference_sequences": 1, "reference_params": 1, "exponent": 0, "maximum": 1}
    for most, per_parameter in ((0.25, 1.0), (0.1, 0.8)):
        cell = plan_sweep(sweep_config(budgets_per_parameter=[8, 16], max_warmup_share=most, batch=rule))[0]
        found = {config.warmup_steps for config in cell.branches(PROXY, 32)}
        assert found == {math.ceil(math.floor(per_parameter * cell.rung.params) / 32)}


@pytest.mark.parametrize(
    ("proxy", "changes", "message"),
    [
        ({"schedule": "cosine"}, {}, "branches of one WSD run"),
        ({"decay_share": 0.0}, {}, "branches of one WSD run"),
        ({}, {"budgets": [3200, 3210]}, r"are \[100, 100\] steps of 32 tokens"),
        ({}, {"budgets": [3, 3200]}, "raise the budgets or lower the batch"),
        ({"decay_share": 0.9}, {"max_warmup_share": 0.5}, "lower max_warmup_share or decay_share"),
    ],
)
def test_budgets_that_cannot_be_branches_are_refused(proxy: dict, changes: dict, message: str) -> None:
    rule = {"reference_sequences": 1, "reference_params": 1, "exponent": 0, "maximum": 1}
    given = {"budgets": [3200, 6400], "budgets_per_parameter": None, "batch": rule, **changes}
    cell = plan_sweep(sweep_config(**given))[0]
    with pytest.raises(ValueError, match=message):
        cell.branches(PROXY.model_copy(update=proxy), 32)


def test_proxies_that_are_pretrained_see_no_agent_data_first() -> None:
    assert plan_starts(sweep_config()) == []
    starts = plan_starts(sweep_config(start={"tokens_per_parameter": 3, "code_share": 0.25}))
    assert [start.name for start in starts] == ["0.1M", "0.2M", "0.4M"]
    for start in starts:
        assert start.shares == {"code": 0.25, "text": 0.75}
        assert start.budgets == (3 * start.rung.params,)
