"""DeepSpeed: how a job's processes find each other, its engine, and what is read out of it."""

import logging
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import HashStore

from hephaestus_dag.training.config import TrainingConfig
from hephaestus_dag.training.kernels import speed_up
from hephaestus_dag.training.loss import WeightedLoss
from hephaestus_dag.training.state import inner_optimizer, start_state


def start_processes() -> torch.device:
    """Join this process with the job's others and return its device; repeated calls change nothing.

    RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT are read as torchrun sets them. Without them the process is
    alone and opens no port. DS_ACCELERATOR says ``cpu`` or ``cuda``; without it a GPU is used where there is one. Raises
    ValueError when the GPU it asks for is not there.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = os.environ["DS_ACCELERATOR"] == "cuda"
    if on_gpu and torch.cuda.device_count() <= int(os.environ.get("LOCAL_RANK", "0")):
        raise ValueError(f"num_gpus: {torch.cuda.device_count()} GPUs are visible here; lower num_gpus (0: train on the CPU)")
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        os.environ.setdefault(name, value)
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        alone = os.environ["WORLD_SIZE"] == "1"
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=HashStore() if alone else None,
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
        )

    import deepspeed
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)  # It warns of every optimiser that is not its own.
    # Otherwise the first start on a CPU compiles an operator for minutes, and one killed meanwhile blocks all later starts.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="nccl" if on_gpu else "gloo", dist_init_required=False, verbose=False)
    return device


class RefusableAdamW(torch.optim.AdamW):
    """AdamW whose step can be told to do nothing.

    DeepSpeed clips, updates, and clears gradients in one call, in its own way at each ZeRO stage; refusing inside leaves
    weights and moments as they were at all of them.
    """

    refuses: Callable[[], bool] = staticmethod(lambda: False)

    def step(self, closure: Any = None) -> Any:
        """Update the weights, unless that is refused."""
        return None if self.refuses() else super().step(closure)


def start_engine(language_model: Any, config: TrainingConfig, world_size: int) -> Any:
    """Return the DeepSpeed engine of a model and its AdamW optimiser. The processes must have been started.

    At stage 0 bfloat16 means autocast: DeepSpeed's own bfloat16 mode would keep no float32 weights there.
    """
    import deepspeed

    sharded = config.zero_stage > 0
    micro, accumulation = config.micro_batches(world_size)
    model = WeightedLoss(language_model, autocast=config.dtype == "bfloat16" and not sharded, z_loss=config.z_loss)
    if config.gradient_checkpointing:
        language_model.gradient_checkpointing_enable({"use_reentrant": False})
    if config.compile:
        language_model.get_decoder().compile()
    elif os.environ["DS_ACCELERATOR"] == "cpu":
        speed_up(language_model)
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    optimizer = RefusableAdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,
    )
    offload = {"offload_optimizer": {"device": "cpu"}} if config.offload_optimizer else {}
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        config={
            "train_micro_batch_size_per_gpu": micro,
            "gradient_accumulation_steps": accumulation,
            "gradient_clipping": config.clip if sharded else 0.0,
            "zero_optimization": {"stage": config.zero_stage, **offload},
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,  # Its own would be compiled at the first start, for a minute.
            "bf16": {"enabled": config.dtype == "bfloat16" and sharded},
            "steps_per_print": 1 << 62,
        },
    )
    start_state(engine)
    return engine


def update(engine: Any, config: TrainingConfig, rate: float, refuse: bool) -> float:
    """Clip the gradient, apply one optimiser step at a learning rate, and return the norm before clipping.

    Call it after the backward pass of the last micro-batch. With ``refuse``, or when the norm is not finite, weights and
    moments stay as they are; the gradients are cleared in any case.
    """
    optimizer = inner_optimizer(engine)
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
    if config.zero_stage:  # DeepSpeed takes the norm, of all parts, before it calls the optimiser.
        optimizer.refuses = lambda: refuse or not math.isfinite(engine.optimizer._global_grad_norm)
        engine.step()
        return float(engine.get_global_grad_norm())
    norm = float(torch.nn.utils.clip_grad_norm_(engine.module.parameters(), config.clip))
    optimizer.refuses = lambda: refuse or not math.isfinite(norm)
    engine.step()
    return norm


def gathered_weights(engine: Any) -> dict[str, Tensor]:
    """Return the language model's weights on the CPU at rank 0, and nothing elsewhere; every process calls it."""
    model = engine.module.language_model
    first = dist.get_rank() == 0
    found = {}
    for name, parameter in model.named_parameters():
        with _whole(parameter):
            if first:
                found[name] = parameter.detach().to("cpu", copy=True)
    return found


def _whole(parameter: Tensor) -> AbstractContextManager[Any]:
    if not hasattr(parameter, "ds_id"):
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters([parameter])
