"""Next-token loss of a causal language model, without ever holding the logits of a whole batch.

With a small model and a vocabulary of thousands, logits are most of the memory traffic of a step. The output head, the
softmax and their gradients are therefore computed together, for some rows at a time (as in Liger's fused linear
cross-entropy, arXiv 2410.10989). Logits are rounded to the compute type, everything after them is float32.
torch's own chunked ``linear_cross_entropy`` sums in bfloat16 where the inputs are bfloat16, hence this one.
"""

from typing import Any

import torch
from torch import Tensor, nn

CHUNK_ELEMENTS = {"cpu": 1 << 21, "cuda": 1 << 28}
"""Logits held at a time: on a CPU about a cache, on a GPU enough for large products."""


class HeadLoss(torch.autograd.Function):
    """``sum_i weights_i * (cross_entropy(logits_i, targets_i) + z_loss * logsumexp(logits_i)^2)``, logits = hidden @ head.T.

    The gradients are computed on the way forward.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, z_loss: float, train: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the sum and, without a gradient, its cross-entropy alone.

        Hidden [rows, width], head [vocabulary, width], targets, weights [rows]; products are in the type of hidden.
        """
        exact, head_type, head = torch.float32, head.dtype, head.to(hidden.dtype)
        nats, squares = torch.zeros(2, dtype=exact, device=hidden.device)
        rows = max(1, CHUNK_ELEMENTS.get(hidden.device.type, 1 << 24) // len(head))
        # These hold every chunk in turn: on a CPU fresh memory of such a size costs as much as a product.
        shape = min(rows, len(hidden)), len(head)
        products = torch.empty(shape, dtype=hidden.dtype, device=hidden.device)
        floats = products if hidden.dtype == exact else torch.empty(shape, dtype=exact, device=hidden.device)
        change = torch.empty_like(head)
        hidden_grad, head_grad = torch.empty_like(hidden), torch.zeros_like(head, dtype=exact)
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            shown, target, weight = hidden[part], targets[part, None], weights[part, None]
            product = torch.mm(shown, head.T, out=products[: len(shown)])
            odds = floats[: len(shown)].copy_(product)
            hit, largest = odds.gather(1, target), odds.amax(1, keepdim=True)
            divisor = odds.sub_(largest).exp_().sum(1, keepdim=True)
            log_sum = divisor.log() + largest
            nats += ((log_sum - hit) * weight).sum()
            squares += (log_sum.square() * weight).sum()
            if train:
                odds.mul_(weight * (1 + 2 * z_loss * log_sum) / divisor).scatter_add_(1, target, -weight)
                torch.mm(product.copy_(odds), head, out=hidden_grad[part])
                head_grad += torch.mm(product.T, shown, out=change)
        ctx.grads, ctx.head_type = (hidden_grad, head_grad), head_type
        ctx.mark_non_differentiable(nats)
        return nats + z_loss * squares, nats

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        """Scale the gradients by the incoming one, in place: a loss is differentiated once."""
        (hidden_grad, head_grad), ctx.grads = ctx.grads, None
        return hidden_grad.mul_(grads[0]), head_grad.mul_(grads[0]).to(ctx.head_type), *[None] * 4


class WeightedLoss(nn.Module):
    """A causal language model with its loss.

    ``autocast`` runs the model's matrix products in bfloat16 over float32 weights. ``z_loss`` is the weight of the squared
    log of the softmax's divisor, which keeps logits from drifting (PaLM, arXiv 2204.02311).
    """

    def __init__(self, language_model: Any, autocast: bool, z_loss: float = 0.0) -> None:
        super().__init__()
        self.language_model = language_model
        self.autocast = autocast
        self.z_loss = z_loss

    def forward(self, tokens: Tensor, weights: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the loss to differentiate, z-loss included, and its cross-entropy alone, detached: the one to report.

        Both are sums over the targets ``tokens[:, 1:]`` of nats times weights. Tokens int64 [batch, length + 1], weights
        float32 [batch, length]. With positions, int64 [batch, length], that restart at 0 where a document begins, attention
        stays inside documents: given no attention mask, transformers reads the borders out of them and builds one mask
        for all layers (``masking_utils``; attention "sdpa" or "eager": "flash_attention_2" does so for one row only).
        """
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.autocast):
            hidden = (
                self.language_model.get_decoder()(input_ids=tokens[:, :-1], position_ids=positions, use_cache=False)
            ).last_hidden_state
        head = self.language_model.get_output_embeddings().weight
        dtype = torch.bfloat16 if self.autocast else head.dtype
        hidden, targets, weights = hidden.flatten(0, 1), tokens[:, 1:].flatten(), weights.flatten()
        # Nobody needs the logits of what does not count. On a GPU a number of rows that the data decide would cost a wait.
        if hidden.device.type == "cpu" and not weights.all():
            counting = weights.nonzero().squeeze(1)
            hidden, targets, weights = hidden[counting], targets[counting], weights[counting]
        with torch.autocast(tokens.device.type, enabled=False):
            return HeadLoss.apply(  # pyright: ignore[reportReturnType]
                hidden.to(dtype), head, targets, weights, self.z_loss, torch.is_grad_enabled()
            )
