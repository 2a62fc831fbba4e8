"""The graph of a recipe as users see it, and beside it a few assets that are quick: one with a picture, one whose check fails
and what follows it, and a training job that never ends by itself."""

import os
from pathlib import Path

import dagster as dg

from assets import live
from assets.artifact import Build, CheckDeclaration, Lineage, artifact
from assets.page import to_dagster
from hephaestus_dag.artifacts import Check, Report
from hephaestus_dag.automation import executor
from hephaestus_dag.definitions import current_recipe, definitions
from hephaestus_dag.documents import Document, DocumentWriter
from hephaestus_dag.training.config import TrainingConfig
from hephaestus_dag.training.figure import draw_loss
from hephaestus_dag.training.job import TrainingJob
from tests.training.conftest import SHAPE

live.SECONDS_BETWEEN_OBSERVATIONS = 2.0
TRAINING = {
    "global_batch_sequences": 4,
    "micro_batch_sequences": 2,
    "learning_rate": 0.01,
    "checkpoint_every": 1_000,
    "evaluate_every": 1_000,
    "evaluate_tokens": 256,
}
HOT = CheckDeclaration(name="iron_is_hot", description="The iron glows.")


@artifact(group="forge", kinds={"parquet"})
def picture_book(build: Build) -> Report:
    """A few documents and a curve.

    Something to look at.
    """
    with DocumentWriter(build.folder) as writer:
        writer.write(
            Document(
                text=f"Page {n} of the book.", domain="text", kind="page", source="book", origin=f"page {n}", license="MIT"
            )
            for n in range(1_200)
        )
    lines = [{"step": n, "tokens": n, "loss": 6 - n / 20, "lr": 0.001} for n in range(1, 60)]
    draw_loss(lines, "the book", build.folder / "curve.png")
    return Report(headline="1,200 pages", rows=1_200, figures={"pages": 1_200}, pictures={"the curve": "curve.png"})


@artifact(group="forge", checks=[HOT])
def cold_iron(build: Build) -> Report:
    """Iron that is not hot enough."""
    return Report(headline="20 °C", checks=[Check(name=HOT.name, passed=False, detail="20 °C, at least 900 °C wanted")])


@artifact(group="forge", inputs=["cold_iron"])
def sword(build: Build) -> Report:
    """What would be made of the iron."""
    return Report(headline="a sword")


@artifact(group="forge", trains=True)
def endless_training(build: Build) -> Report:
    """A training job of many steps."""
    corpus = Path(os.environ["FORGE_CORPUS"])
    job = TrainingJob(
        title=build.key,
        model=SHAPE,
        tokenizer=corpus / "tokenizer",
        mixture=corpus / "endless",
        stores=(corpus / "store",),
        heldout={"text": (corpus / "store", "text.heldout")},
        config=TrainingConfig.model_validate(TRAINING),
        output=build.folder,
        work=build.work,
    )
    build.trainer.train(job, build.log, live.LiveView(build, job).note, 1, build.warn)
    return Report(headline="it ended after all")


lineage = Lineage(current_recipe(), [picture_book, cold_iron, sword, endless_training])
defs = dg.Definitions.merge(
    definitions(current_recipe()),
    dg.Definitions(
        assets=[to_dagster(lineage, asset, None) for asset in lineage.assets.values()],
        jobs=[
            dg.define_asset_job("forge_sword", selection=dg.AssetSelection.assets("cold_iron", "sword")),
            dg.define_asset_job(
                "forge_model",
                selection=dg.AssetSelection.assets("endless_training"),
                executor_def=executor(current_recipe().execution),
            ),
        ],
        executor=dg.in_process_executor,
    ),
)
