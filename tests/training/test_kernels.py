from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from hephaestus_dag.training import kernels
from hephaestus_dag.training.kernels import Attention, Norm, speed_up
from hephaestus_dag.training.loss import WeightedLoss

products: Any = torch.backends.mkldnn.matmul  # pyright: ignore[reportAttributeAccessIssue]
fast_cpu = pytest.mark.skipif(
    not torch.cpu._is_avx512_supported() or torch.cpu._is_amx_tile_supported(), reason="these kernels are for other processors"
)


def gradients(value: Tensor, given: list[Tensor]) -> list[Tensor]:
    torch.manual_seed(5)
    return list(torch.autograd.grad(value, given, torch.randn(value.shape).to(value.dtype)))


@pytest.mark.parametrize("length", [1, 7, 8, 20])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_and_its_gradients_equal_torch_s(length: int, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BLOCK", 8)
    torch.manual_seed(length)
    given = [torch.randn(2, 3, length, 4, requires_grad=True) for _ in range(3)]
    mask = None
    if masked:
        place = torch.arange(length)
        causal = (place[:, None] >= place) & (place[:, None] - place < 5)
        mask = torch.stack([causal, causal & (place // 3 == place[:, None] // 3)])[:, None]
    reference = F.scaled_dot_product_attention(
        given[0], given[1], given[2], attn_mask=mask, is_causal=mask is None, scale=0.3
    ).transpose(1, 2)
    found: Any = Attention.apply(*given, mask, 0.3)
    torch.testing.assert_close(found, reference)
    torch.testing.assert_close(gradients(found, given), gradients(reference, given))


def test_attention_in_bfloat16_is_as_exact_as_torch_s() -> None:
    torch.manual_seed(0)
    exact = [torch.randn(2, 3, 64, 16).bfloat16().double().requires_grad_() for _ in range(3)]
    given = [x.detach().bfloat16().requires_grad_() for x in exact]

    def errors(value: Tensor, states: list[Tensor]) -> list[float]:
        pairs = zip([value, *gradients(value, states)], truth, strict=True)
        return [((found.double() - right).norm() / right.norm()).item() for found, right in pairs]

    whole = F.scaled_dot_product_attention(exact[0], exact[1], exact[2], is_causal=True).transpose(1, 2)
    truth = [whole, *gradients(whole, exact)]
    torchs = errors(F.scaled_dot_product_attention(given[0], given[1], given[2], is_causal=True).transpose(1, 2), given)
    ours: Any = Attention.apply(*given, None, 0.25)
    for error, reference in zip(errors(ours, given), torchs, strict=True):
        assert error < max(1.5 * reference, 4e-3)


def test_the_norm_and_its_gradients_equal_the_model_s() -> None:
    torch.manual_seed(0)
    module = LlamaRMSNorm(24, eps=1e-3)
    module.weight.data.normal_()
    states = torch.randn(2, 5, 24, requires_grad=True)
    found: Any = Norm.apply(states, module.weight, 1e-3, torch.float32)
    reference = module(states)
    torch.testing.assert_close(found, reference)
    given = [states, module.weight]
    torch.testing.assert_close(gradients(found, given), gradients(reference, given))
    rounded: Any = Norm.apply(states, module.weight, 1e-3, torch.bfloat16)
    assert torch.equal(rounded, found.bfloat16())


TINY: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**TINY)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**TINY, sliding_window=5)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**TINY, use_sliding_window=True, sliding_window=5, max_window_layers=1)),
}


@fast_cpu
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_faster_model_has_the_loss_and_gradients_of_the_original(name: str, packed: bool) -> None:
    torch.manual_seed(0)
    language_model = MODELS[name]()
    language_model.set_attn_implementation("sdpa")
    tokens, weights = torch.randint(0, 50, (2, 25)), torch.rand(2, 24)
    positions = torch.cat([torch.arange(9), torch.arange(15)]).expand(2, -1) if packed else None
    model = WeightedLoss(language_model, autocast=False)
    weights_of = list(model.parameters())
    before, _ = model(tokens, weights, positions)
    expected = torch.autograd.grad(before, weights_of)
    names = list(language_model.state_dict())
    try:
        speed_up(language_model)
        assert language_model.config._attn_implementation == kernels.ATTENTION
        after, _ = model(tokens, weights, positions)
        found = torch.autograd.grad(after, weights_of)
        half, _ = WeightedLoss(language_model, autocast=True)(tokens, weights, positions)
    finally:
        products.fp32_precision = "none"
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert abs(half - before) / before < 5e-3
    assert list(language_model.state_dict()) == names


@fast_cpu
def test_float32_products_stay_float32() -> None:
    speed_up(MODELS["llama"]())
    try:
        for rows, inner, columns in ((64, 64, 64), (512, 256, 1_024), (33, 100, 7)):
            left, right = torch.randn(rows, inner), torch.randn(inner, columns)
            wrong = ((left @ right).double() - left.double() @ right.double()).norm() / (left @ right).norm()
            assert wrong < 1e-6
    finally:
        products.fp32_precision = "none"
