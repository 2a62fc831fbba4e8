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
    """Causal attention; scores and their gradients are float32."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        """Query, key, value [batch, heads, length, size], mask bool [batch, 1, length, length] or None: causal.

        Returns [batch, length, heads, size] in the type of value.
        """
        heads, length, size = query.shape[1:]
        if mask is None:
            mask = torch.ones(1, 1, length, length, dtype=torch.bool).tril_()
        bias = torch.zeros(mask.shape).masked_fill_(~mask, -torch.inf)
        bias = bias.expand(-1, 1 if len(bias) == 1 else heads, -1, -1)
        ctx.shape, ctx.scale, probabilities = query.shape, scale, []
        with torch.autocast("cpu", enabled=False):
            query, key = (query.float() * scale).reshape(-1, length, size), key.float().reshape(-1, length, size)
            value = value.reshape(-1, length, size)
            out = torch.empty_like(value)
            for part, seen in _blocks(length):
                hidden = bias[:, :, part, seen].flatten(0, 1)
                scores = torch.baddbmm(hidden, query[:, part], key[:, seen].transpose(1, 2))
                probabilities.append(scores.softmax(2).to(value.dtype))
                out[:, part] = torch.bmm(probabilities[-1], value[:, seen])
        ctx.save_for_backward(query, key, value, out, *probabilities)
        return out.view(ctx.shape).transpose(1, 2).contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        """As in FlashAttention-2 (arXiv 2307.08691), with the probabilities kept instead of computed again."""
        query, key, value, out, *probabilities = ctx.saved_tensors
        grad = grads[0].transpose(1, 2).reshape(out.shape)
        query_grad, key_grad, value_grad = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(key)
        with torch.autocast("cpu", enabled=False):
            exact, values = grad.float(), value.float().transpose(1, 2)
            drop = -(exact * out).sum(2, keepdim=True)
            for (part, seen), probability in zip(_blocks(ctx.shape[2]), probabilities, strict=True):
                change = torch.baddbmm(drop[:, part], exact[:, part], values[:, :, seen]).mul_(probability)
                query_grad[:, part] = torch.bmm(change, key[:, seen])
                key_grad[:, seen] += torch.bmm(change.transpose(1, 2), query[:, part])
                value_grad[:, seen] += torch.bmm(probability.transpose(1, 2), grad[:, part])
        grads = query_grad.mul_(ctx.scale), key_grad, value_grad.to(value.dtype)
        return *(found.view(ctx.shape) for found in grads), None, None


def _blocks(length: int) -> list[tuple[slice, slice]]:
    """Return blocks of queries, each with the keys that it may see."""
    parts = [slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]
    return [(part, slice(part.stop)) for part in parts]
