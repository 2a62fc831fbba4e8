from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from hephaestus_dag.training import loss
from hephaestus_dag.training.loss import HeadLoss


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(1, 40), chunk=st.integers(1, 15), seed=st.integers(0, 2**16))
def test_value_and_gradients_equal_the_plain_weighted_cross_entropy(rows: int, chunk: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, 6, generator=generator, requires_grad=True)
    head = torch.randn(11, 6, generator=generator, requires_grad=True)
    targets = torch.randint(0, 11, (rows,), generator=generator)
    weights = torch.randint(0, 2, (rows,), generator=generator) / rows

    plain = (F.cross_entropy(hidden @ head.T, targets, reduction="none") * weights).sum()
    expected = torch.autograd.grad(plain, (hidden, head))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(loss.CHUNK_ELEMENTS, "cpu", 11 * chunk)
        ours: Any = HeadLoss.apply(hidden, head, targets, weights, True)
        found = torch.autograd.grad(3 * ours, (hidden, head))
    torch.testing.assert_close(ours, plain)
    for gradient, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, 3 * reference)


def test_bfloat16_rounds_products_but_sums_in_float32() -> None:
    hidden, head = torch.randn(500, 16), torch.randn(300, 16) / 4
    targets, weights = torch.randint(0, 300, (500,)), torch.ones(500)
    whole: Any = HeadLoss.apply(hidden, head, targets, weights, False)
    rounded: Any = HeadLoss.apply(hidden.bfloat16(), head, targets, weights, False)
    assert rounded.dtype == torch.float32
    assert abs(rounded - whole) / whole < 1e-3


def test_the_head_keeps_a_float32_gradient_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loss.CHUNK_ELEMENTS, "cpu", 9 * 2)
    hidden, head = torch.randn(8, 4).bfloat16(), torch.randn(9, 4, requires_grad=True)
    value: Any = HeadLoss.apply(hidden, head, torch.arange(8), torch.ones(8), True)
    (gradient,) = torch.autograd.grad(value, head)
    assert gradient.dtype == torch.float32
    assert not torch.equal(gradient, gradient.bfloat16().float())


def test_only_masked_targets_count() -> None:
    """A language model whose hidden states are its embeddings, so that the loss can be written by hand."""
    embedding = torch.nn.Embedding(7, 5)

    class Echo(torch.nn.Module):
        def get_decoder(self) -> Any:
            return lambda input_ids, use_cache: SimpleNamespace(last_hidden_state=embedding(input_ids))

        def get_output_embeddings(self) -> Any:
            return embedding

    tokens = torch.tensor([[1, 2, 3, 4], [4, 0, 6, 5]])
    mask = torch.tensor([[0.0, 1, 0], [1, 0, 1]])
    found = loss.WeightedLoss(Echo(), autocast=False)(tokens, mask)
    by_hand = torch.tensor(0.0)
    for before, after in ((2, 3), (4, 0), (6, 5)):
        by_hand -= F.log_softmax(embedding.weight @ embedding.weight[before], 0)[after]
    torch.testing.assert_close(found, by_hand)
