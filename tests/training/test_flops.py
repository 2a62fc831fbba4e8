from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from hephaestus_dag.training.flops import flops_per_token, peak_flops

SHAPE: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 20,
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("model", "config"),
    [(LlamaForCausalLM, LlamaConfig), (MistralForCausalLM, MistralConfig), (Qwen2ForCausalLM, Qwen2Config)],
)
def test_a_model_and_its_configuration_agree_with_the_count_by_hand(model: type, config: type, tied: bool) -> None:
    described = config(**SHAPE, tie_word_embeddings=tied)
    # queries and outputs 16 x 16, keys and values 16 x 8, three matrices 16 x 20; the head 16 x 100.
    matrices = 3 * (2 * 256 + 2 * 128 + 3 * 320) + 1_600
    by_hand = 6 * matrices + 12 * 3 * 16 * 256
    assert flops_per_token(described, 256) == by_hand
    assert flops_per_token(model(described), 256) == by_hand


def test_heads_may_be_wider_than_the_residual_stream() -> None:
    described = LlamaConfig(**SHAPE, head_dim=8)
    by_hand = 6 * (3 * (2 * 512 + 2 * 256 + 3 * 320) + 1_600) + 12 * 3 * 32 * 7
    assert flops_per_token(described, 7) == flops_per_token(LlamaForCausalLM(described), 7) == by_hand


def test_llama_3_8b_has_the_published_size() -> None:
    described = LlamaConfig(
        vocab_size=128_256,
        hidden_size=4_096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=14_336,
    )
    vectors, embedding = 65 * 4_096, 128_256 * 4_096
    assert flops_per_token(described, 0) == 6 * (8_030_261_248 - vectors - embedding)
    assert flops_per_token(described, 8_192) - flops_per_token(described, 0) == 12 * 32 * 4_096 * 8_192
    with torch.device("meta"):
        assert flops_per_token(LlamaForCausalLM(described), 8_192) == flops_per_token(described, 8_192)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_peak_of_a_cpu_is_probed(dtype: str) -> None:
    peak, said = peak_flops("cpu", dtype)
    assert peak
    assert peak > 1e8
    assert dtype in said


def test_the_peak_of_a_gpu_is_looked_up_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "NVIDIA H200": 989.4e12,
        "NVIDIA H100 80GB HBM3": 989.4e12,
        "NVIDIA H100 PCIe": 756e12,
        "NVIDIA A100-SXM4-80GB": 312e12,
        "NVIDIA L40S": 362e12,
        "NVIDIA L4": 121e12,
        "NVIDIA GH200 480GB": 989.4e12,
        "NVIDIA Z1": None,
    }
    for name, peak in names.items():
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device, name=name: name)
        found, said = peak_flops("cuda", "bfloat16")
        assert found == peak
        assert peak or name in said
        assert peak_flops("cuda", "float32")[0] is None
