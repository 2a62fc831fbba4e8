"""What a checkpoint holds: each weight in float32 and AdamW's two moments of it, whole and by name.

The files are the same for every ZeRO stage and number of processes, so a job resumes with any number of them. They are
safetensors, not pickles; each process writes some of them and takes their SHA-256 on the way.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

FILE_BYTES = 1 << 30
"""Size of a file, unless a single weight needs more."""
MOMENTS = ("exp_avg", "exp_avg_sq")


def start_state(engine: Any) -> None:
    """Give a fresh optimiser its moments, so that they can be read and set before its first step."""
    inner = inner_optimizer(engine)
    for master in masters(engine):
        moments = {key: torch.zeros_like(master, memory_format=torch.preserve_format) for key in MOMENTS}
        inner.state[master] = {"step": torch.zeros((), dtype=torch.float32, device=master.device), **moments}
    if engine.zero_optimization_stage() in (1, 2):
        engine.optimizer._lazy_init_hp_params_optimizer_state()


def masters(engine: Any) -> list[Tensor]:
    """Return the float32 tensors that this process's optimiser updates."""
    stage = engine.zero_optimization_stage()
    if stage == 3:
        return engine.optimizer.fp32_partitioned_groups_flat
    if stage:
        return engine.optimizer.single_partition_of_fp32_groups
    return [parameter for group in engine.optimizer.param_groups for parameter in group["params"]]


def is_finite(engine: Any) -> bool:
    """Return whether all weights are finite, the same on every process."""
    bounds = [torch.stack(torch.aminmax(master.detach())).to(engine.device) for master in masters(engine) if len(master)]
    finite = torch.isfinite(torch.stack(bounds)).all().float() if bounds else torch.ones((), device=engine.device)
    dist.all_reduce(finite, dist.ReduceOp.MIN)
    return bool(finite)


def save_state(engine: Any, folder: Path) -> dict[str, str]:
    """Write weights and moments into ``folder/state``; every process calls it.

    Returns the SHA-256 of each file by its name in ``folder``, the same on every process. Raises OSError on every process
    when one of them could not write.
    """
    rank, world_size = dist.get_rank(), dist.get_world_size()
    written: dict[str, Future[str]] = {}
    with ThreadPoolExecutor(1) as writer:  # It writes one file while the next one's tensors are gathered.
        for number, parameters in enumerate(_files(engine)):
            mine = number % world_size == rank
            tensors: dict[str, Tensor] = {}
            for name, parameter in parameters:
                for key in ("", *MOMENTS):
                    whole = _gathered(engine, parameter, key)
                    if mine:
                        tensors[f"{name}#{key}"] = whole.detach().cpu()
            if mine:
                for earlier in written.values():  # No more than two files are held in memory.
                    earlier.exception()
                path = f"state/{number:05d}.safetensors"
                written[path] = writer.submit(_write, folder / path, tensors)
    failure = next(filter(None, (future.exception() for future in written.values())), None)
    if failure and not isinstance(failure, OSError):
        raise failure
    outcome = failure.strerror or str(failure) if failure else {path: future.result() for path, future in written.items()}
    outcomes: list[Any] = [None] * world_size
    dist.all_gather_object(outcomes, outcome)  # Nobody stops before all have gathered, whatever happened to a file.
    if failures := [outcome for outcome in outcomes if isinstance(outcome, str)]:
        raise OSError(failures[0])
    return {path: digest for outcome in outcomes for path, digest in outcome.items()}


def load_state(engine: Any, folder: Path, updates: int) -> None:
    """Take weights and moments from ``folder/state``, as they are after so many updates; every process calls it."""
    from safetensors import safe_open

    parameters = dict(engine.module.language_model.named_parameters())
    if engine.zero_optimization_stage() == 3:
        engine.optimizer.checkpoint_event_prologue()
    for path in sorted((folder / "state").glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for title in sorted(file.keys()):
                name, _, key = title.partition("#")
                _put(engine, parameters[name], key, file.get_tensor(title))
    for state in inner_optimizer(engine).state.values():
        state["step"].fill_(updates)
    if engine.zero_optimization_stage() == 3:
        for group in range(len(engine.optimizer.fp16_groups)):
            engine.optimizer._reassign_or_swap_out_partitioned_parameters(group)
        engine.optimizer.checkpoint_event_epilogue()
    elif engine.zero_optimization_stage():
        engine.optimizer.update_lp_params()


def inner_optimizer(engine: Any) -> Any:
    """Return the torch optimiser that DeepSpeed drives."""
    return engine.optimizer.optimizer if engine.zero_optimization_stage() else engine.optimizer


def _files(engine: Any) -> Iterator[list[tuple[str, Tensor]]]:
    """Divide the weights among files, by their sizes alone."""
    found, size = [], 0
    for name, parameter in engine.module.language_model.named_parameters():
        needed = 4 * (1 + len(MOMENTS)) * getattr(parameter, "ds_numel", parameter.numel())
        if found and size + needed > FILE_BYTES:
            yield found
            found, size = [], 0
        found.append((name, parameter))
        size += needed
    yield found


def _gathered(engine: Any, parameter: Tensor, key: str) -> Tensor:
    """Return a weight or, with a key, a moment of it, in float32; every process calls it."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    if not engine.zero_optimization_stage():
        return engine.optimizer.state[parameter][key] if key else parameter
    whole = safe_get_full_optimizer_state(parameter, key) if key else safe_get_full_fp32_param(parameter)
    assert whole is not None
    return whole


def _put(engine: Any, parameter: Any, key: str, value: Tensor) -> None:
    """Set this process's part of a weight or of a moment of it."""
    from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

    if not engine.zero_optimization_stage():
        (engine.optimizer.state[parameter][key] if key else parameter.data).copy_(value)
    elif engine.zero_optimization_stage() < 3:
        parameter.set_full_hp_param(value, key or None)
    else:
        size = parameter.ds_tensor.numel()
        part = value.flatten()[dist.get_rank() * size :][:size]
        part = F.pad(part, (0, size - len(part)))  # The last processes hold some padding.
        if key:
            safe_set_local_optimizer_state(parameter, part, key)
        else:
            safe_set_local_fp32_param(parameter, part)


def _write(path: Path, tensors: dict[str, Tensor]) -> str:
    """Write a safetensors file, flush it to disk, and return its SHA-256 without reading it again."""
    parts = [np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data for tensor in tensors.values()]
    ends = np.cumsum([len(part) for part in parts]).tolist()
    header = {
        name: {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [end - len(part), end]}
        for (name, tensor), part, end in zip(tensors.items(), parts, ends, strict=True)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for part in (len(text).to_bytes(8, "little"), text, *parts):
            digest.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()
