"""What the UI shows of an asset while it is being built."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from assets.artifact import Build, Lineage, artifact
from assets.live import LiveView
from assets.page import to_dagster
from hephaestus_dag.artifacts import Report
from hephaestus_dag.recipe_file import load_recipe
from hephaestus_dag.training.figure import draw_loss
from hephaestus_dag.training.job import TrainingJob
from resources.compute import LocalPool
from resources.database import DatabaseServer
from resources.launcher import LocalLauncher
from resources.recipe import RecipeChoice
from resources.store import ArtifactStore
from resources.trainer import DeepSpeedTrainer
from tests.training.conftest import LENGTH, Corpus, corpus, make_job  # noqa: F401

LINE = {"step": 1, "tokens": 4 * LENGTH, "loss": 5.5, "lr": 0.01, "grad_norm": 1.0, "mix": {"agent": 3, "text": 1}}
CLOCK = {"seconds": 0.5, "tokens_per_second": 8.0 * LENGTH, "mfu": None}


def test_a_running_job_shows_its_figures_and_its_curve(
    make_job: Callable[..., TrainingJob],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("assets.live.SECONDS_BETWEEN_OBSERVATIONS", 0.0)
    monkeypatch.setenv("HEPHAESTUS_EVENTS", str(tmp_path / "events.jsonl"))
    seen: list[tuple[Any, Any]] = []
    job = make_job()
    options: dict[str, Any] = {"earlier": list, "cache": tmp_path, "log": print, "warn": print, "resources": None}
    build = Build(
        key="stage1_checkpoint",
        recipe=load_recipe("laptop"),
        folder=tmp_path,
        work=tmp_path,
        inputs={},
        observe=lambda values, texts: seen.append((values, texts)),
        **options,
    )
    view = LiveView(build, job)
    view.note({"step": 0, "heldout": {"text": {"loss": 5.6, "bits_per_byte": 8.0}}, "seconds": 0.1})
    assert seen == []
    view.note(LINE | CLOCK)
    view.note(LINE | CLOCK | {"step": 2, "tokens": 8 * LENGTH, "loss": 5.25})
    (_, _), (values, texts) = seen
    shown = {"step": 2, "loss": 5.25, "learning rate": 0.01, "tokens per second": 8.0 * LENGTH}
    assert {name: values[name] for name in shown} == shown
    assert values["agent tokens so far"] == 6 * LENGTH
    assert values["text tokens so far"] == 2 * LENGTH
    assert "MFU" not in values
    assert "step 2 of 12" in values["progress"]
    assert "5 s left" in values["progress"]
    assert texts["loss so far"].startswith("![loss so far](data:image/png;base64,")
    last = json.loads((tmp_path / "events.jsonl").read_text().splitlines()[-1])
    assert (last["done"], last["total"]) == (2, 12)


def test_the_curve_has_every_step_once_and_of_a_long_run_some(
    make_job: Callable[..., TrainingJob],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("assets.live.SECONDS_BETWEEN_OBSERVATIONS", 0.0)
    monkeypatch.setattr("assets.live.MOST_LINES", 20)
    drawn: list[Any] = []

    def draw(lines: Any, title: str, path: Path) -> None:
        drawn[:] = lines
        draw_loss(lines, title, path)

    monkeypatch.setattr("hephaestus_dag.training.figure.draw_loss", draw)
    build = SimpleNamespace(key="a", work=tmp_path, observe=lambda values, texts: None)
    view = LiveView(build, make_job())  # pyright: ignore[reportArgumentType]

    def steps(first: int, last: int, loss: float) -> None:
        for step in range(first, last + 1):
            view.note(LINE | CLOCK | {"step": step, "tokens": 4 * LENGTH * step, "loss": loss})

    steps(1, 8, 5.0)
    view.note({"step": 8, "heldout": {"text": {"loss": 5.6}}})
    view.note(LINE | CLOCK | {"step": 9, "loss": None, "skipped": "the loss is nan"})
    view.note({"step": 9, "rewound_to": 4})
    steps(6, 8, 4.0)
    assert [(line["step"], line["loss"]) for line in drawn] == [
        *((n, 5.0) for n in range(1, 6)),
        *((n, 4.0) for n in (6, 7, 8)),
    ]
    view.note({"step": 8, "heldout": {"text": {"loss": 5.6}}})
    view.note(LINE | CLOCK | {"step": 9, "loss": None, "skipped": "the loss is nan"})
    steps(10, 79, 4.0)
    assert len(drawn) <= 20
    assert [line["step"] for line in drawn] == [8, 8, 9, *range(16, 80, 8)]


def test_what_an_asset_observes_is_on_the_page_that_it_names(tmp_path: Path) -> None:
    @artifact(group="forge", page="hall")
    def anvil(build: Build) -> Report:
        """An anvil."""
        build.observe({"blows": 7}, {"mark": "**M**"})
        return Report(headline="made")

    lineage = Lineage(load_recipe("laptop"), [anvil])
    launcher = DeepSpeedTrainer(launcher=LocalLauncher())
    store = ArtifactStore(root=str(tmp_path))
    resources = {
        "recipe": RecipeChoice(),
        "store": store,
        "compute": LocalPool(num_workers=1),
        "database": DatabaseServer(),
        "trainer": launcher,
    }
    result = dg.materialize([to_dagster(lineage, anvil, None)], resources=resources)
    (event,) = [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    assert event.asset_key == dg.AssetKey("hall")
    assert {name: value.value for name, value in event.asset_observation_data.asset_observation.metadata.items()} == {
        "blows": 7,
        "mark": "**M**",
    }
