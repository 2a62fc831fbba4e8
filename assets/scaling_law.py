"""Scaling law: small models at several agent ratios, and the ratio that they support (paper section 4.3, Figure 3)."""

import re
from typing import Any

import dagster as dg

from assets.artifact import ArtifactAsset, Build, CheckDeclaration, Lineage, artifact, result
from assets.mixture import source_weights
from assets.training import LOOP, train
from hephaestus_dag.artifacts import Check, Report
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.scaling.sweep import Cell, plan_sweep

GROUP = "scaling_law"
STORES = ["tokenized_seed", "tokenized_web"]


def proxy_cell(cell: Cell) -> ArtifactAsset:
    """Return the declaration of one proxy run: a model size at an agent ratio."""

    @artifact(
        key=f"proxy_runs/{cell.name}",
        page="proxy_runs",
        group=GROUP,
        inputs=["tokenizer", *STORES],
        recipe=["training.proxy", "mixture.sequence_length", "mixture.max_epochs"],
        outside=lambda recipe: {"cell": cell.model_dump(mode="json"), **source_weights(recipe)},
        programs=[LOOP],
        trains=True,
    )
    def proxy_run(build: Build) -> Report:
        from hephaestus_dag.mixture.config import Component
        from hephaestus_dag.mixture.plan import plan_mixture
        from hephaestus_dag.training.config import ModelShape

        section = build.recipe.mixture
        components = tuple(Component(domain=domain, share=round(share, 9)) for domain, share in cell.shares.items() if share)
        stores = [build.input(store) for store in STORES]
        mixture = section.mixture(cell.tokens, components, seed=cell.seed, weights=build.recipe.source_weights(web=True))
        plan_mixture(mixture, stores, build.folder / "mixture")
        shape = ModelShape(max_position_embeddings=section.sequence_length, **cell.rung.model_dump(exclude={"name"}))
        config = build.recipe.training.proxy.model_copy(update={"learning_rate": cell.learning_rate, "seed": cell.seed})
        report = train(build, shape, config, build.folder / "mixture", stores, build.recipe.scaling_law.threads)
        return Report(headline=report.headline, figures=report.figures, rows=report.rows, pictures=report.pictures)

    return proxy_run


def proxy_runs(recipe: Recipe) -> list[ArtifactAsset]:
    """Return the cells of the sweep, and the asset that gathers them."""
    cells = plan_sweep(recipe.scaling_law.sweep)
    declared = [proxy_cell(cell) for cell in cells]

    @artifact(key="proxy_runs", group=GROUP, kinds={"parquet"}, inputs=["tokenizer", *STORES, *(cell.key for cell in declared)])
    def gathered(build: Build) -> Report:
        """Proxy models: several sizes at several agent ratios, each with its held-out losses."""
        from hephaestus_dag.scaling.gather import gather_runs

        folders = [build.input(f"proxy_runs/{cell.name}") for cell in cells]
        runs = gather_runs(cells, folders, [build.input(store) for store in STORES], build.folder / "runs.parquet")
        sizes, ratios = {cell.rung.name for cell in cells}, {cell.agent_ratio for cell in cells}
        return Report(
            headline=f"{len(runs)} runs: {len(sizes)} sizes x {len(ratios)} agent ratios",
            rows=len(runs),
            figures={"runs": len(runs), "training FLOPs (6 x parameters x tokens)": sum(run.flops for run in runs)},
            tables={
                "losses (bits per byte)": [
                    {"cell": run.cell, "params": run.params, "tokens": run.tokens, "status": run.status, **_rounded(run.losses)}
                    for run in runs
                ]
            },
        )

    return [*declared, gathered]


@artifact(
    group=GROUP,
    kinds={"scipy"},
    inputs=["proxy_runs"],
    recipe=["scaling_law.fit"],
    checks=[
        CheckDeclaration(name="loss_is_finite", description="Every proxy run ended with losses that are numbers."),
        CheckDeclaration(
            name="optimum_is_supported",
            description="The fitted law passes every gate; if not, no ratio is taken from it.",
            blocking=False,
        ),
    ],
)
def fitted_power_law(build: Build) -> Report:
    """The law of held-out loss over size, tokens and agent ratio, with the ratio it supports and the doubt about it."""
    from hephaestus_dag.scaling.report import fit_and_write
    from hephaestus_dag.scaling.runs import read_runs

    runs = build.input("proxy_runs") / "runs.parquet"
    found = fit_and_write(runs, build.recipe.scaling_law.fit, build.folder, build.progress)
    failed = [f"{run.cell}: {run.status}" for run in read_runs(runs) if run.status != "ok"]
    low, high = found["interval"]
    supported = found["status"] == "supported"
    return Report(
        headline=f"{found['status']}: lowest at {found['ratio']:.0%} agent, 95 % interval {low:.0%} to {high:.0%}",
        figures={name: value for name, value in found.items() if isinstance(value, (int, float, str))},
        tables={"why no optimum is supported": [{"reason": reason} for reason in found["reasons"]]} if found["reasons"] else {},
        pictures={"loss against agent ratio": "ratio.png", "loss against compute": "flops.png"},
        checks=[
            Check(name="loss_is_finite", passed=not failed, detail="; ".join(failed) or "all runs finished"),
            Check(name="optimum_is_supported", passed=supported, detail="; ".join(found["reasons"]) or "all gates passed"),
        ],
    )


def _rounded(losses: dict[str, float]) -> dict[str, float]:
    return {domain: round(loss, 4) for domain, loss in losses.items()}


def sweep_to_dagster(lineage: Lineage, asset: ArtifactAsset, pool: str | None) -> dg.AssetsDefinition:
    """Return the sweep as a graph asset: one dynamic op for each cell, which is its own artifact."""
    cells = [key for key in asset.inputs if key.startswith("proxy_runs/")]
    resources = {"store", "compute", "trainer"}

    @dg.op(ins={name: dg.In(dg.Nothing) for name in ("tokenizer", *STORES)}, out=dg.DynamicOut(str))
    def plan_cells():
        for key in cells:
            yield dg.DynamicOutput(key, mapping_key=re.sub(r"\W", "_", key.removeprefix("proxy_runs/")))

    @dg.op(required_resource_keys=resources, pool=pool, tags={"dagster/priority": "-1"})
    def train_cell(context, key: str) -> str:
        lineage.build(key, context)
        return key

    @dg.op(required_resource_keys=resources)
    def gather(context, keys: list):
        return result(asset, lineage.build(asset.key, context))

    @dg.graph_asset(
        key=asset.key,
        group_name=asset.group,
        kinds=set(asset.kinds),
        description=asset.description,
        code_version=lineage.local_version(asset.key),
        ins={name: dg.AssetIn(name, dagster_type=dg.Nothing) for name in ("tokenizer", *STORES)},
    )
    def sweep(**inputs: Any):
        return gather(plan_cells(**inputs).map(train_cell).collect())

    return sweep
