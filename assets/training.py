"""Training: a backbone, then Stages I to III of every variant (paper section 5)."""

import json
import math
from pathlib import Path
from typing import Any

from assets.artifact import ArtifactAsset, Build, CheckDeclaration, artifact
from assets.live import LiveView
from assets.mixture import MIXTURE_FIELDS, seed_weights, source_rows
from assets.showing import figures_of, rounded
from hephaestus_dag.artifacts import Check, Report
from hephaestus_dag.models import model_identity
from hephaestus_dag.recipe import Recipe

GROUP = "training"
LOOP = "hephaestus_dag.training.loop"

FINITE_CHECK = CheckDeclaration(name="loss_is_finite", description="Every training and held-out loss is a number.")
GENERAL_CHECK = CheckDeclaration(
    name="general_ability_kept",
    description="The held-out text loss did not rise by more than the recipe tolerates.",
    blocking=False,
)
MFU = "tokens/s x {flops:.4g} FLOP per token (6 N + 12 L d T) / ({peak})"
RUN_FIGURES = {
    "steps": "steps",
    "tokens": "tokens",
    "tokens_per_second": "tokens per second",
    "seconds": "training seconds",
    "world_size": "processes",
    "attempts": "attempts",
}
STAGE_DESCRIPTIONS = {
    1: "The model after Stage I, continual pre-training of the backbone on agent, code and text (paper, section 5).",
    2: "The model after Stage II, continual pre-training on the high-quality seed corpus (paper, section 5).",
    3: "The model after Stage III, instruction tuning on conversations with tools (paper, section 5): what is scored.",
}


def backbone_identity(recipe: Recipe) -> dict[str, Any]:
    """Return what a published backbone is, or what the pre-training of one is shown."""
    model = recipe.training.backbone.model
    return {"backbone": model_identity(model)} if model else seed_weights(recipe)


def heldout_streams(store: Path) -> dict[str, tuple[Path, str]]:
    """Return the held-out streams of a token store by domain."""
    streams = json.loads((store / "store.json").read_text())["streams"]
    return {stream["domain"]: (store, name) for name, stream in sorted(streams.items()) if stream["split"] == "heldout"}


def train(build: Build, model: Any, config: Any, mixture: Path, stores: list[Path], threads: int | None = None) -> Report:
    """Run one training job in the build's folder."""
    from hephaestus_dag.training.job import TrainingJob

    job = TrainingJob(
        title=build.key,
        model=model,
        backbone=build.recipe.training.backbone.model,
        tokenizer=build.input("tokenizer"),
        mixture=mixture,
        stores=tuple(stores),
        heldout=heldout_streams(build.input("tokenized_seed")),
        config=config,
        output=build.folder,
        work=build.work,
    )
    view = LiveView(build, job)
    return training_report(build, mixture, build.trainer.train(job, build.log, view.note, threads, build.warn))


def processor_hours(device: str) -> str:
    """Return what the time of a training job on a device is counted in."""
    return "GPU hours" if device.startswith("cuda") else "CPU process hours"


def training_report(build: Build, mixture: Path, summary: Any) -> Report:
    """Return the report of a finished training job."""
    before, after = summary["heldout_before"], summary["heldout"]
    rise = after["text"]["bits_per_byte"] / before["text"]["bits_per_byte"] - 1
    tolerance = build.recipe.training.forgetting_tolerance
    losses = " ".join(f"{domain} {values['bits_per_byte']:.2f}" for domain, values in sorted(after.items()))
    final = "unknown, no step made an update" if summary["loss"] is None else f"{summary['loss']:.4f}"
    return Report(
        headline=f"{summary['steps']:,} steps, {summary['tokens']:,} tokens; held-out bits per byte: {losses}",
        rows=summary["steps"],
        figures=figures_of(
            {
                **{title: summary[name] for name, title in RUN_FIGURES.items()},
                processor_hours(summary["device"]): summary["seconds"] * summary["world_size"] / 3600,
                "parameters": summary["parameters"]["total"],
                "parameters without embeddings": summary["parameters"]["non_embedding"],
                "MFU": summary["mfu"] if summary["mfu"] is not None else f"unknown: {summary['peak_from']}",
                "MFU is": MFU.format(flops=summary["flops_per_token"], peak=summary["peak_from"]),
                "training loss (nats per token)": summary["loss"],
                "steps skipped": summary["skipped_steps"],
                "returns to a checkpoint": summary["rewinds"],
                **{f"held-out {domain} (bits per byte)": score["bits_per_byte"] for domain, score in sorted(after.items())},
            }
        ),
        tables={
            "held-out loss": rounded(
                [
                    {
                        "domain": domain,
                        "before (bits per byte)": before[domain]["bits_per_byte"],
                        "after (bits per byte)": after[domain]["bits_per_byte"],
                        "change in %": 100 * (after[domain]["bits_per_byte"] / before[domain]["bits_per_byte"] - 1),
                    }
                    for domain in sorted(after)
                ]
            ),
            "tokens by component": [{"component": name, "tokens": count} for name, count in summary["mix"].items()],
            "tokens by source": source_rows(json.loads((mixture / "mixture.json").read_text())),
        },
        pictures={"loss curve": "loss.png"},
        checks=[
            Check(
                name=FINITE_CHECK.name,
                passed=summary["loss"] is not None
                and all(map(math.isfinite, [summary["loss"], *(score["loss"] for score in after.values())])),
                detail=f"final training loss {final}; held-out bits per byte: {losses}",
            ),
            Check(
                name=GENERAL_CHECK.name,
                passed=rise <= tolerance,
                detail=f"held-out text loss changed by {rise:+.1%}, tolerated {tolerance:+.1%}",
            ),
        ],
    )


@artifact(
    group=GROUP,
    kinds={"pytorch", "huggingface"},
    inputs=["tokenizer", "tokenized_seed"],
    recipe=[
        "training.backbone",
        "training.forgetting_tolerance",
        *MIXTURE_FIELDS,
    ],
    outside=backbone_identity,
    programs=[LOOP],
    checks=[FINITE_CHECK, GENERAL_CHECK],
    trains=True,
    priority=1,
)
def backbone(build: Build) -> Report:
    """The model that Stage I starts from: a published one, or a small one pre-trained here on code and text.

    The paper starts from LLaMA-3-8B (section 5). `model/` loads with transformers.
    """
    import shutil

    from hephaestus_dag.mixture.config import Component
    from hephaestus_dag.mixture.plan import plan_mixture
    from hephaestus_dag.models import resolve_model

    config = build.recipe.training.backbone
    if config.model:
        shutil.copytree(resolve_model(config.model, build.cache), build.folder / "model")
        return Report(
            headline=f"{config.model} as published",
            figures={"model": config.model},
            checks=[
                Check(name=check.name, passed=True, detail="taken as published, not trained here")
                for check in (FINITE_CHECK, GENERAL_CHECK)
            ],
        )
    shares = {"code": config.code_share, "text": 1 - config.code_share}
    components = tuple(Component(domain=domain, share=share) for domain, share in shares.items() if share)
    mixture = build.folder / "mixture"
    weights = build.recipe.source_weights(web=False)
    planned = build.recipe.mixture.mixture(config.tokens, components, weights=weights)
    plan_mixture(planned, [build.input("tokenized_seed")], mixture)
    return train(build, config.shape, config.training, mixture, [build.input("tokenized_seed")])


def stage_checkpoint(key: str, stage: int, start: str, corpus: str, stores: list[str]) -> ArtifactAsset:
    """Return the asset that trains one stage from the model of `start` on the mixture of `corpus`."""

    @artifact(
        key=key,
        group=GROUP,
        kinds={"pytorch", "huggingface"},
        inputs=dict.fromkeys([start, corpus, "tokenizer", "tokenized_seed", *stores]),
        recipe=[f"training.stage{stage}", "training.forgetting_tolerance"],
        programs=[LOOP],
        checks=[FINITE_CHECK, GENERAL_CHECK],
        trains=True,
        priority=1,  # everything after it waits for it
        description=STAGE_DESCRIPTIONS[stage],
    )
    def checkpoint(build: Build) -> Report:
        folder = build.input(corpus)
        packed = stage == 3
        return train(
            build,
            build.input(start) / "model",
            build.recipe.section(f"training.stage{stage}"),
            folder / "mixture" if packed else folder,
            [folder / "store"] if packed else [build.input(store) for store in stores],
        )

    return checkpoint
