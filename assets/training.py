"""Training: a backbone, then Stages I to III of every variant (paper section 5)."""

import json
import math
from pathlib import Path
from typing import Any

from assets.artifact import ArtifactAsset, Build, CheckDeclaration, artifact
from hephaestus_dag.artifacts import Check, Report
from hephaestus_dag.models import model_identity
from hephaestus_dag.recipe import Recipe

GROUP = "training"
WORKER = "hephaestus_dag.training.worker"

FINITE_CHECK = CheckDeclaration(name="loss_is_finite", description="Every training and held-out loss is a number.")
GENERAL_CHECK = CheckDeclaration(
    name="general_ability_kept",
    description="The held-out text loss did not rise by more than the recipe tolerates.",
    blocking=False,
)
STAGE_DESCRIPTIONS = {
    1: "Stage I: the backbone after continual pre-training on the mixed corpus.",
    2: "Stage II: after continual pre-training on the high-quality seed corpus.",
    3: "Stage III: after instruction tuning.",
}


def backbone_identity(recipe: Recipe) -> dict[str, Any]:
    """Return what a published backbone is."""
    model = recipe.training.backbone.model
    return {"backbone": model_identity(model)} if model else {}


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
        tokenizer=build.input("tokenizer"),
        mixture=mixture,
        stores=tuple(stores),
        heldout=heldout_streams(build.input("tokenized_seed")),
        config=config,
        output=build.folder,
        work=build.work,
    )
    return training_report(build, build.trainer.train(job, build.log, build.note, threads))


def training_report(build: Build, summary: Any) -> Report:
    """Return the report of a finished training job."""
    before, after = summary["heldout_before"], summary["heldout"]
    rise = after["text"]["bits_per_byte"] / before["text"]["bits_per_byte"] - 1
    tolerance = build.recipe.training.forgetting_tolerance
    losses = " ".join(f"{domain} {values['bits_per_byte']:.2f}" for domain, values in sorted(after.items()))
    return Report(
        headline=f"{summary['steps']:,} steps, {summary['tokens']:,} tokens; held-out bits per byte: {losses}",
        rows=summary["steps"],
        figures={
            **{name: summary[name] for name in ("steps", "tokens", "tokens_per_second", "seconds", "world_size")},
            **{f"{name} parameters": count for name, count in summary["parameters"].items()},
            "training loss (nats per token)": round(summary["loss"], 4),
            **{
                f"held-out {domain} (bits per byte)": round(score["bits_per_byte"], 4)
                for domain, score in sorted(after.items())
            },
        },
        tables={
            "held-out loss": [
                {
                    "domain": domain,
                    "before (bits per byte)": round(before[domain]["bits_per_byte"], 4),
                    "after (bits per byte)": round(after[domain]["bits_per_byte"], 4),
                }
                for domain in sorted(after)
            ]
        },
        pictures={"loss curve": "loss.png"},
        checks=[
            Check(
                name=FINITE_CHECK.name,
                passed=all(map(math.isfinite, [summary["loss"], *(score["loss"] for score in after.values())])),
                detail=f"final training loss {summary['loss']:.4f}; held-out bits per byte: {losses}",
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
        "mixture.sequence_length",
        "mixture.max_epochs",
        "mixture.seed",
    ],
    outside=backbone_identity,
    programs=[WORKER],
    checks=[FINITE_CHECK, GENERAL_CHECK],
    trains=True,
    priority=1,
)
def backbone(build: Build) -> Report:
    """The model that Stage I starts from: a published one, or a small one pre-trained here on code and text."""
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
    plan_mixture(build.recipe.mixture.mixture(config.tokens, components), [build.input("tokenized_seed")], mixture)
    return train(build, config.shape, config.training, mixture, [build.input("tokenized_seed")])


def stage_checkpoint(key: str, stage: int, start: str, corpus: str, stores: list[str]) -> ArtifactAsset:
    """Return the asset that trains one stage from the model of `start` on the mixture of `corpus`."""

    @artifact(
        key=key,
        group=GROUP,
        kinds={"pytorch", "huggingface"},
        inputs=dict.fromkeys([start, corpus, "tokenizer", "tokenized_seed", *stores]),
        recipe=[f"training.stage{stage}", "training.forgetting_tolerance"],
        programs=[WORKER],
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
