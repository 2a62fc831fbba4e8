"""Next-token loss of a causal language model, without ever holding the logits of a whole batch.

With a small model and a vocabulary of thousands, logits are most of the memory traffic of a step. The output head, the
softmax and their gradients are therefore computed together, for some rows at a time (as in Liger's fused linear
cross-entropy, arXiv 2410.10989). Logits are rounded to the compute type, everything after them is float32.
torch's own chunked ``linear_cross_entropy`` sums in bfloat16 where the inputs are bfloat16, hence this one.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK_ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 28}
"""Logits held at a time: about a cache on a CPU, large products on a GPU."""


class HeadLoss(torch.autograd.Function):
    """``sum_i weights_i * cross_entropy(hidden_i @ head.T, targets_i)``, with its gradients computed on the way forward."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, train: bool) -> Tensor:
        """Hidden [rows, width], head [vocabulary, width], targets, weights [rows]; products are in the type of hidden."""
        head_type, head = head.dtype, head.to(hidden.dtype)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        hidden_grad = torch.empty_like(hidden) if train else None
        head_grad = torch.zeros_like(head, dtype=torch.float32) if train else None
        rows = max(1, CHUNK_ELEMENTS.get(hidden.device.type, 1 << 24) // head.shape[0])
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            target, weight = targets[part, None], weights[part, None]
            log_probabilities = F.log_softmax(hidden[part] @ head.T, 1, dtype=torch.float32)
            total -= (log_probabilities.gather(1, target) * weight).sum()
            if hidden_grad is None or head_grad is None:
                continue
            gradient = log_probabilities.exp_().scatter_add_(1, target, -torch.ones_like(weight)).mul_(weight).to(hidden.dtype)
            torch.mm(gradient, head, out=hidden_grad[part])
            if head.dtype == torch.float32:
                head_grad.addmm_(gradient.T, hidden[part])
            else:
                head_grad += gradient.T @ hidden[part]
        if train:
            ctx.save_for_backward(hidden_grad, head_grad)
            ctx.head_type = head_type
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        """Scale the stored gradients by the incoming one."""
        hidden_grad, head_grad = ctx.saved_tensors
        return hidden_grad * grads[0].to(hidden_grad.dtype), (head_grad * grads[0]).to(ctx.head_type), None, None, None


class WeightedLoss(nn.Module):
    """A causal language model with its loss.

    ``forward(tokens int64 [batch, length + 1], weights float32 [batch, length])`` returns the weighted sum of the nats of
    the targets ``tokens[:, 1:]``. ``autocast`` runs the model's matrix products in bfloat16 over float32 weights.
    """

    def __init__(self, language_model: Any, autocast: bool) -> None:
        super().__init__()
        self.language_model = language_model
        self.autocast = autocast

    def forward(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """See the class."""
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.autocast):
            hidden = self.language_model.get_decoder()(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
        head = self.language_model.get_output_embeddings().weight
        dtype = torch.bfloat16 if self.autocast else head.dtype
        with torch.autocast(tokens.device.type, enabled=False):
            return HeadLoss.apply(  # pyright: ignore[reportReturnType]
                hidden.flatten(0, 1).to(dtype),
                head,
                tokens[:, 1:].flatten(),
                weights.flatten(),
                torch.is_grad_enabled(),
            )
