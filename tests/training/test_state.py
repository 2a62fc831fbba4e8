"""The state of a run: steps that are refused leave it alone, files give it back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hephaestus_dag.training import state
from hephaestus_dag.training.config import TrainingConfig
from hephaestus_dag.training.engine import start_engine, start_processes, update

PLACEMENTS = [
    pytest.param({"zero_stage": 0}, id="0"),
    pytest.param({"zero_stage": 0, "dtype": "bfloat16"}, id="0-bf16"),
    pytest.param({"zero_stage": 1}, id="1"),
    pytest.param({"zero_stage": 1, "dtype": "bfloat16"}, id="1-bf16"),
    pytest.param({"zero_stage": 2}, id="2"),
    pytest.param({"zero_stage": 2, "dtype": "bfloat16"}, id="2-bf16"),
    pytest.param({"zero_stage": 3}, id="3"),
    pytest.param({"zero_stage": 3, "dtype": "bfloat16"}, id="3-bf16"),
    pytest.param({"zero_stage": 1, "offload_optimizer": True}, id="1-offload"),
    pytest.param({"zero_stage": 2, "offload_optimizer": True, "dtype": "bfloat16"}, id="2-bf16-offload"),
    pytest.param({"zero_stage": 3, "offload_optimizer": True}, id="3-offload"),
]
TINY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 61,
}


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Callable[[], tuple[Any, TrainingConfig]]:
    def started() -> tuple[Any, TrainingConfig]:
        torch.set_num_threads(1)
        start_processes()
        torch.manual_seed(0)
        given = {"global_batch_sequences": 4, "micro_batch_sequences": 2, "learning_rate": 0.01, **request.param}
        config = TrainingConfig(**given)
        return start_engine(LlamaForCausalLM(LlamaConfig(**TINY)), config, 1), config

    return started


def step(engine: Any, config: TrainingConfig, seed: int, refuse: bool = False, scale: float = 1.0) -> float:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(2):
        tokens = torch.randint(0, 61, (2, 9), generator=generator)
        loss, _ = engine(tokens, torch.full((2, 8), 1 / 32))
        engine.backward(loss * scale, scale_wrt_gas=False)
        if not engine.is_gradient_accumulation_boundary():
            engine.step()
    return update(engine, config, 0.01, refuse)


def content(engine: Any) -> list[torch.Tensor]:
    """All that an update changes: master weights, moments, their count, and the weights that the model computes with."""
    inner = state.inner_optimizer(engine)
    masters = state.masters(engine)
    moments = [inner.state[master][key] for master in masters for key in ("step", *state.MOMENTS)]
    with torch.no_grad():
        shown = engine(torch.arange(18).view(2, 9), torch.ones(2, 8))[1]
    return [tensor.detach().clone() for tensor in (*masters, *moments, shown)]


def equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("start", PLACEMENTS, indirect=True)
def test_a_refused_step_changes_nothing_now_or_later(start: Callable[[], tuple[Any, TrainingConfig]]) -> None:
    plain, config = start()
    assert torch.isfinite(torch.tensor([step(plain, config, seed) for seed in (1, 2, 3)])).all()
    engine, _ = start()
    untouched = content(engine)
    assert step(engine, config, 8, refuse=True) > 0
    assert equal(content(engine), untouched)
    step(engine, config, 1)
    before = content(engine)
    assert not equal(before, untouched)
    assert step(engine, config, 9, refuse=True) > 0
    assert equal(content(engine), before)
    assert not torch.isfinite(torch.tensor(step(engine, config, 9, scale=float("nan"))))
    assert not torch.isfinite(torch.tensor(step(engine, config, 9, scale=float("inf"))))
    assert equal(content(engine), before)
    step(engine, config, 2)
    step(engine, config, 3)
    assert equal(content(engine), content(plain))


@pytest.mark.parametrize("start", PLACEMENTS, indirect=True)
def test_files_give_the_state_back_to_the_bit(
    start: Callable[[], tuple[Any, TrainingConfig]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "FILE_BYTES", 20_000)
    engine, config = start()
    for seed in (1, 2):
        step(engine, config, seed)
    before = content(engine)
    digests = state.save_state(engine, tmp_path / "fresh")
    assert len(digests) > 1
    step(engine, config, 3)
    after = content(engine)
    assert not equal(before, after)
    state.load_state(engine, tmp_path / "fresh", updates=2)
    assert equal(content(engine), before)
    step(engine, config, 3)
    assert equal(content(engine), after)

    other, _ = start()
    state.load_state(other, tmp_path / "fresh", updates=2)
    step(other, config, 3)
    assert equal(content(other), after)
    assert state.save_state(other, tmp_path / "again") == state.save_state(engine, tmp_path / "third")


@pytest.mark.parametrize("start", PLACEMENTS[::2], indirect=True)
def test_weights_that_are_not_finite_are_found(start: Callable[[], tuple[Any, TrainingConfig]]) -> None:
    engine, _ = start()
    assert state.is_finite(engine)
    state.masters(engine)[-1].data[3] = float("nan")
    assert not state.is_finite(engine)
