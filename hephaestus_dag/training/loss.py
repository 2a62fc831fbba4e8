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
"""Logits held at a time: about a cache on a CPU, large products on a GPU."""


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
        head_type, head = head.dtype, head.to(hidden.dtype)
        nats = torch.zeros((), dtype=torch.float32, device=hidden.device)
        squares = torch.zeros_like(nats)
        hidden_grad = torch.empty_like(hidden) if train else None
        head_grad = None
        rows = max(1, CHUNK_ELEMENTS.get(hidden.device.type, 1 << 24) // head.shape[0])
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            target, weight = targets[part, None], weights[part, None]
            logits = (hidden[part] @ head.T).float()
            hit = logits.gather(1, target)
            largest = logits.amax(1, keepdim=True)
            odds = logits.sub_(largest).exp_()
            divisor = odds.sum(1, keepdim=True)
            log_sum = divisor.log() + largest
            nats += ((log_sum - hit) * weight).sum()
            squares += (log_sum.square() * weight).sum()
            if hidden_grad is None:
                continue
            gradient = odds.mul_(weight * (1 + 2 * z_loss * log_sum) / divisor)
            gradient = gradient.scatter_add_(1, target, -weight).to(hidden.dtype)
            torch.mm(gradient, head, out=hidden_grad[part])
            change = gradient.T @ hidden[part]
            head_grad = change.float() if head_grad is None else head_grad.add_(change)
        if train:
            ctx.save_for_backward(hidden_grad, head_grad)
            ctx.head_type = head_type
        ctx.mark_non_differentiable(nats)
        return nats + z_loss * squares, nats

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        """Scale the stored gradients by the incoming one."""
        hidden_grad, head_grad = ctx.saved_tensors
        return (
            hidden_grad * grads[0].to(hidden_grad.dtype),
            (head_grad * grads[0]).to(ctx.head_type),
            *[None] * 4,
        )


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
        with torch.autocast(tokens.device.type, enabled=False):
            return HeadLoss.apply(  # pyright: ignore[reportReturnType]
                hidden.flatten(0, 1).to(dtype),
                head,
                tokens[:, 1:].flatten(),
                weights.flatten(),
                self.z_loss,
                torch.is_grad_enabled(),
            )
