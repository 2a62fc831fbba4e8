"""Whether a training job fits into its GPUs: weights, gradients and optimiser by ZeRO stage, activations, and the loss."""

from dataclasses import dataclass

from hephaestus_dag.costs.architecture import Architecture
from hephaestus_dag.costs.devices import Device
from hephaestus_dag.training.config import LauncherConfig, TrainingConfig

USABLE = 0.92
"""Share of a GPU's memory for all this; the rest is CUDA's and NCCL's, and lost to fragmentation."""
LIVE_PARAMETERS = 1e9
BUCKET = 5e8
LOGITS = 2**28
"""DeepSpeed's defaults for gathered weights and for buckets, in elements; logits held at a time, in `training.loss`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on one GPU; an estimate."""

    job: str
    processes: int
    weights: float
    gradients: float
    optimizer: float
    activations: float
    loss: float
    buffers: float
    limit: float
    """What a GPU has for them."""

    @property
    def total(self) -> float:
        """Everything together."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.loss + self.buffers

    @property
    def fits(self) -> bool:
        """Whether it is less than there is."""
        return self.total <= self.limit


def memory_of(
    job: str, model: Architecture, config: TrainingConfig, placement: LauncherConfig, sequence_length: int, device: Device
) -> Memory:
    """Return the memory of one GPU of a job.

    States per parameter (ZeRO, arXiv 1910.02054, section 3): in bfloat16 with ZeRO 2 bytes of weight, 2 of gradient and 12
    of master weight and AdamW's moments, of which stage 1 divides the last among the processes, stage 2 the last two, stage 3
    all; without ZeRO 4, 4 and 8, and 2 of autocast's copy. Stages from 1 hold buckets, stage 3 up to 1e9 gathered weights.

    Activations per token and layer, counted from the tensors that a LLaMA block keeps for its backward pass: the inputs of
    both norms, also in float32, what they return, queries, keys, values, the attention's result, and four of the feed-forward's
    width (gate, up, their product and the activated gate); no attention scores, as fused attention computes them again. With
    checkpointing the input of each layer, and one layer whole.
    """
    processes = placement.for_batch(config.global_batch_sequences).num_processes
    micro, _ = config.micro_batches(processes)
    half, stage, n = config.dtype == "bfloat16", config.zero_stage, model.parameters
    item = 2 if half else 4
    if stage:
        weight_bytes, gradient_bytes, state_bytes = item, item, 12
    else:
        weight_bytes, gradient_bytes, state_bytes = 6 if half else 4, 4, 8
    divided = {level: processes if stage >= level else 1 for level in (1, 2, 3)}
    live = min(n, LIVE_PARAMETERS) * item if stage == 3 else 0

    width = model.hidden_size
    layer = 2 * (item + 4) * width + 2 * item * width
    layer += item * (2 * model.query_width + 2 * model.key_width + 4 * model.intermediate_size)
    layers = model.num_hidden_layers
    per_token = layers * item * width + layer if config.gradient_checkpointing else layers * layer
    tokens = micro * sequence_length
    logits = min(tokens * model.vocab_size, LOGITS)
    return Memory(
        job=job,
        processes=processes,
        weights=n * weight_bytes / divided[3] + live,
        gradients=n * gradient_bytes / divided[2],
        optimizer=0 if config.offload_optimizer else n * state_bytes / divided[1],
        activations=tokens * per_token,
        loss=logits * (4 + 2 * item) + 2 * tokens * width * item + model.vocab_size * width * 4,
        buffers=min(n, BUCKET) * item if stage else 0,
        limit=device.memory * USABLE,
    )
