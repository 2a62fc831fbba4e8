import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus_dag.training.config import Schedule, TrainingConfig
from hephaestus_dag.training.schedule import learning_rate


def rates(steps: int, **given: object) -> list[float]:
    settings = {"global_batch_sequences": 1, "micro_batch_sequences": 1, "learning_rate": 1.0, **given}
    config = TrainingConfig.model_validate(settings)
    return [learning_rate(step, steps, config) for step in range(steps)]


def test_wsd_rises_stays_and_falls() -> None:
    values = rates(100, schedule="wsd", warmup_share=0.1, decay_share=0.19, min_lr_share=0.0)
    assert values[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert set(values[10:81]) == {1.0}
    assert values[81:] == pytest.approx([1 - 0.05 * (step + 1) for step in range(19)])


def test_a_warmup_in_steps_does_not_grow_with_the_job() -> None:
    for steps in (50, 100, 1000):
        values = rates(steps, schedule="wsd", warmup_share=0.3, warmup_steps=10, decay_share=0.2)
        assert values[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
        assert set(values[10 : 8 * steps // 10]) == {1.0}


def test_cosine_is_half_way_down_in_the_middle_of_its_fall() -> None:
    values = rates(109, schedule="cosine", warmup_share=10 / 109, min_lr_share=0.2)
    assert values[10 + 49] == pytest.approx(0.6)
    assert values[-1] == pytest.approx(0.2, abs=1e-3)


def test_constant_stays() -> None:
    assert set(rates(20, schedule="constant", warmup_share=0.0)) == {1.0}


@given(
    schedule=st.sampled_from(["wsd", "cosine", "constant"]),
    steps=st.integers(1, 300),
    warmup=st.floats(0, 0.4),
    decay=st.floats(0, 0.6),
    floor=st.floats(0, 1),
)
def test_every_update_moves_and_after_the_warmup_the_rate_never_rises(
    schedule: Schedule, steps: int, warmup: float, decay: float, floor: float
) -> None:
    values = rates(steps, schedule=schedule, warmup_share=warmup, decay_share=decay, min_lr_share=floor)
    assert all(0 < value <= 1 + 1e-12 for value in values)
    peak = values.index(max(values))
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert all(later <= before + 1e-12 for before, later in zip(values[peak:], values[peak + 1 :], strict=False))
