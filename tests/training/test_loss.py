from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from hephaestus_dag.training import loss
from hephaestus_dag.training.loss import HeadLoss, WeightedLoss


def head_loss(hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, z_loss: float = 0.0, train: bool = True) -> Any:
    return HeadLoss.apply(hidden, head, targets, weights, z_loss, train)


@settings(deadline=None, max_examples=30)
@given(
    rows=st.integers(1, 40),
    chunk=st.integers(1, 15),
    z_loss=st.sampled_from((0.0, 1e-4, 0.5)),
    seed=st.integers(0, 2**16),
)
def test_value_and_gradients_equal_the_plain_formula(rows: int, chunk: int, z_loss: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, 6, generator=generator, requires_grad=True)
    head = torch.randn(11, 6, generator=generator, requires_grad=True)
    targets = torch.randint(0, 11, (rows,), generator=generator)
    weights = torch.randint(0, 2, (rows,), generator=generator) / rows

    logits = hidden @ head.T
    nats = (F.cross_entropy(logits, targets, reduction="none") * weights).sum()
    plain = nats + z_loss * (logits.logsumexp(1).square() * weights).sum()
    expected = torch.autograd.grad(plain, (hidden, head))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(loss.CHUNK_ELEMENTS, "cpu", 11 * chunk)
        ours, reported = head_loss(hidden, head, targets, weights, z_loss)
        found = torch.autograd.grad(3 * ours, (hidden, head))
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(reported, nats)
    assert not reported.requires_grad
    for gradient, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, 3 * reference)


def test_bfloat16_rounds_products_but_sums_in_float32() -> None:
    hidden, head = torch.randn(500, 16), torch.randn(300, 16) / 4
    targets, weights = torch.randint(0, 300, (500,)), torch.ones(500)
    whole, _ = head_loss(hidden, head, targets, weights, train=False)
    rounded, _ = head_loss(hidden.bfloat16(), head, targets, weights, train=False)
    assert rounded.dtype == torch.float32
    assert abs(rounded - whole) / whole < 1e-3


def test_the_head_keeps_a_float32_gradient_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loss.CHUNK_ELEMENTS, "cpu", 9 * 2)
    hidden, head = torch.randn(8, 4).bfloat16(), torch.randn(9, 4, requires_grad=True)
    value, _ = head_loss(hidden, head, torch.arange(8), torch.ones(8))
    (gradient,) = torch.autograd.grad(value, head)
    assert gradient.dtype == torch.float32
    assert not torch.equal(gradient, gradient.bfloat16().float())


def test_only_masked_targets_count() -> None:
    """A language model whose hidden states are its embeddings, so that the loss can be written by hand."""
    embedding = torch.nn.Embedding(7, 5)

    class Echo(torch.nn.Module):
        def get_decoder(self) -> Any:
            return lambda input_ids, position_ids, use_cache: SimpleNamespace(last_hidden_state=embedding(input_ids))

        def get_output_embeddings(self) -> Any:
            return embedding

    tokens = torch.tensor([[1, 2, 3, 4], [4, 0, 6, 5]])
    mask = torch.tensor([[0.0, 1, 0], [1, 0, 1]])
    found, _ = WeightedLoss(Echo(), autocast=False)(tokens, mask)
    by_hand = torch.tensor(0.0)
    for before, after in ((2, 3), (4, 0), (6, 5)):
        by_hand -= F.log_softmax(embedding.weight @ embedding.weight[before], 0)[after]
    torch.testing.assert_close(found, by_hand)
    nothing, _ = WeightedLoss(Echo(), autocast=False)(tokens, torch.zeros(2, 3))
    (gradient,) = torch.autograd.grad(nothing, embedding.weight)
    assert not nothing
    assert not gradient.any()


TINY: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**TINY)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**TINY, sliding_window=3)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**TINY, use_sliding_window=True, sliding_window=3, max_window_layers=1)),
}


@pytest.mark.parametrize("name", MODELS)
def test_with_positions_a_packed_sequence_equals_its_documents_alone(name: str) -> None:
    torch.manual_seed(0)
    language_model = MODELS[name]()
    language_model.set_attn_implementation("sdpa")
    model = WeightedLoss(language_model, autocast=False, z_loss=1e-2)
    # The last document of the first row and both of the second are cut or padded by the row's end, as windows do.
    lengths = [[1, 5, 1, 1, 8], [12, 4]]
    tokens = torch.randint(0, 50, (2, 17))
    weights = torch.rand(2, 16)
    positions = torch.tensor([[at for length in row for at in range(length)] for row in lengths])

    def gradients(value: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(value, list(model.parameters())))

    alone, reported = torch.tensor(0.0), torch.tensor(0.0)
    for row, parts in enumerate(lengths):
        begin = 0
        for length in parts:
            shown, weight = tokens[row : row + 1, begin : begin + length + 1], weights[row : row + 1, begin : begin + length]
            total, nats = model(shown, weight)
            alone, reported, begin = alone + total, reported + nats, begin + length
    expected = gradients(alone)
    packed, packed_reported = model(tokens, weights, positions)
    torch.testing.assert_close(packed, alone)
    torch.testing.assert_close(packed_reported, reported)
    torch.testing.assert_close(gradients(packed), expected)

    leaking, _ = model(tokens, weights)
    assert abs(leaking - alone) > 1e-3
    assert max(float((a - b).abs().max()) for a, b in zip(gradients(leaking), expected, strict=True)) > 1e-3
