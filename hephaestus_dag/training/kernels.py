"""What makes a training step on a CPU faster without changing what is computed, other than by rounding.

On processors without matrix units (AMX) torch's own choices waste a good part of a step: MKL's float32 products reach half
the rate of oneDNN's on AMD, and the flash kernel of attention is built of small products of the slow kind.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

NORMS = {"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm"}
ATTENTION = "hephaestus_cpu"
BLOCK = 128
"""Queries whose scores are held at a time: they fit into a cache, and keys behind the block are left out."""
LONGEST = 2_048
"""Sequences beyond this keep too many probabilities for the backward pass; they take torch's kernel."""


def speed_up(language_model: Any) -> None:
    """Let a model train with the ways of this module, where this is a CPU that they are for; weights and names stay.

    Float32 products of the whole process go to oneDNN. Attention is replaced in every transformers model that takes its
    kernel by name, the norm in LLaMA, Mistral and Qwen.
    """
    if not torch.backends.mkldnn.is_available() or not torch.cpu._is_avx512_supported() or torch.cpu._is_amx_tile_supported():
        return
    # Sends float32 products to oneDNN. It may then round to bfloat16, and does so with AMX only.
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # pyright: ignore[reportAttributeAccessIssue]

    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def attention(
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        dropout: float = 0.0,
        scaling: float | None = None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        length = query.shape[2]
        if dropout or length > LONGEST or key.shape[2] != length or query.device.type != "cpu":
            return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **options)
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            key, value = (states.repeat_interleave(groups, 1) for states in (key, value))
        scale = query.shape[3] ** -0.5 if scaling is None else scaling
        return Attention.apply(query, key, value, attention_mask, scale), None  # pyright: ignore[reportReturnType]

    ALL_ATTENTION_FUNCTIONS.register(ATTENTION, attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, sdpa_mask)
    language_model.set_attn_implementation(ATTENTION)
    for module in language_model.modules():
        if type(module).__name__ in NORMS:
            module.forward = partial(_norm, module, module.forward)


def _norm(module: Any, original: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    if states.dtype != torch.float32 or states.device.type != "cpu":
        return original(states)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else states.dtype
    return Norm.apply(states, module.weight, module.variance_epsilon, dtype)  # pyright: ignore[reportReturnType]


class Norm(torch.autograd.Function):
    """``weight * states / rms(states)``, rounded once to the type that the products behind it take."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
        """States float32 [..., width], weight float32 [width]."""
        scale = torch.linalg.vector_norm(states, dim=-1, keepdim=True).square_().div_(states.shape[-1])
        scale = scale.add_(epsilon).rsqrt_()
        unit = states * scale
        ctx.save_for_backward(unit, scale, weight)
        return torch.mul(unit, weight, out=torch.empty(states.shape, dtype=dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        """Both gradients out of one product with the normalised states."""
        unit, scale, weight = ctx.saved_tensors
        width = unit.shape[-1]
        product = grads[0] * unit
        mean = (product @ weight).unsqueeze(-1).div_(width)
        states_grad = torch.mul(grads[0], weight).addcmul_(unit, mean, value=-1).mul_(scale)
        return states_grad, product.view(-1, width).sum(0), None, None


class Attention(torch.autograd.Function):
    """Causal attention of all heads of one sequence at a time; scores and their gradients are float32."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        """Query, key, value [batch, heads, length, size], mask bool [batch, 1, length, length] or None: causal.

        Returns [batch, length, heads, size] in the type of value.
        """
        batch, heads, length, size = query.shape
        if mask is None:
            mask = torch.ones(length, length, dtype=torch.bool).tril_().view(1, 1, length, length)
        bias = torch.zeros(mask.shape).masked_fill_(~mask, -torch.inf)
        out = torch.empty(batch, length, heads, size, dtype=value.dtype)
        kept = []
        with torch.autocast("cpu", enabled=False):
            query, key = query.float(), key.float()
            for row in range(batch):
                for part, seen in _blocks(length):
                    hidden = bias[row % len(bias), :, part, seen]
                    scores = torch.baddbmm(hidden, query[row, :, part], key[row, :, seen].transpose(1, 2), alpha=scale)
                    kept.append(scores.softmax(2).to(value.dtype))
                    out[row, part] = torch.bmm(kept[-1], value[row, :, seen]).transpose(0, 1)
        ctx.save_for_backward(query, key, value, out, *kept)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        """As in FlashAttention-2 (arXiv 2307.08691), with the probabilities kept instead of computed again."""
        query, key, value, out, *kept = ctx.saved_tensors
        batch, heads, length, size = query.shape
        ours = [torch.zeros(batch, length, heads, size).transpose(1, 2) for _ in range(3)]
        probabilities = iter(kept)
        with torch.autocast("cpu", enabled=False):
            for row in range(batch):
                query_grad, key_grad, value_grad = (grad[row] for grad in ours)
                grad = grads[0][row].transpose(0, 1)
                exact = grad.float()
                drop = -(exact * out[row].transpose(0, 1)).sum(2, keepdim=True)
                transposed = value[row].float().transpose(1, 2)
                for part, seen in _blocks(length):
                    probability = next(probabilities)
                    change = torch.baddbmm(drop[:, part], exact[:, part], transposed[:, :, seen]).mul_(probability)
                    query_grad[:, part] = torch.bmm(change, key[row, :, seen])
                    key_grad[:, seen] += torch.bmm(change.transpose(1, 2), query[row, :, part])
                    value_grad[:, seen] += torch.bmm(probability.transpose(1, 2), grad[:, part])
        return ours[0].mul_(ctx.scale), ours[1].mul_(ctx.scale), ours[2].to(value.dtype), None, None


def _blocks(length: int) -> list[tuple[slice, slice]]:
    """Return blocks of queries, each with the keys that it may see."""
    parts = [slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]
    return [(part, slice(part.stop)) for part in parts]
