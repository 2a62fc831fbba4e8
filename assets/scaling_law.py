"""Scaling law: small models at several agent ratios, and the ratio that they support (paper section 4.3, Figure 3)."""

import re
from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.artifact import ArtifactAsset, Build, CheckDeclaration, Lineage, artifact
from assets.choice import chosen
from assets.failure import say_what_failed
from assets.live import LiveView
from assets.mixture import source_weights
from assets.page import RESOURCES, result
from assets.showing import rounded
from assets.training import LOOP, heldout_streams, processor_hours
from hephaestus_dag.artifacts import Check, Report
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.scaling.slots import slot
from hephaestus_dag.scaling.sweep import Cell, plan_starts, plan_sweep
from hephaestus_dag.training.job import TrainingJob

GROUP = "scaling_law"
STORES = ("tokenized_seed", "tokenized_web")
SWEEP = "proxy_runs"
ANSWERS = "proxy_answers"
BACKBONES = "proxy_backbones/"


@artifact(
    key=ANSWERS,
    page=SWEEP,
    group=GROUP,
    inputs=["tokenizer", "benchmark_items"],
    recipe=["scaling_law.sweep.benchmark_items", "evaluation.benchmark_loss.seed", "mixture.sequence_length"],
)
def proxy_answers(build: Build) -> Report:
    """Reference answers of the benchmark, as the held-out set that tells the benchmark loss of the proxies."""
    from hephaestus_dag.scaling.answers import write_answers
    from hephaestus_dag.scaling.sweep_config import BENCHMARK

    found = write_answers(
        build.input("benchmark_items"),
        build.input("tokenizer"),
        build.folder,
        domain=BENCHMARK,
        per_category=build.recipe.scaling_law.sweep.benchmark_items or 0,
        seed=build.recipe.evaluation.benchmark_loss.seed,
        sequence_length=build.recipe.mixture.sequence_length,
    )
    categories = found.pop("categories")
    return Report(
        headline=f"{found['answers']} answers of {len(categories)} categories",
        rows=found["answers"],
        figures=found,
        tables={"answers by category": [{"category": name, "answers": count} for name, count in categories.items()]},
    )


def proxy_run(cell: Cell, key: str, stores: Sequence[str], start: str | None, answers: str | None) -> ArtifactAsset:
    """Return the declaration of one cell: the model of a rung, fresh or that of `start`, trained to each token budget."""

    @artifact(
        key=key,
        page=SWEEP,
        group=GROUP,
        inputs=["tokenizer", *stores, *filter(None, [start, answers])],
        recipe=["training.proxy", "mixture.sequence_length", "mixture.max_epochs"],
        outside=lambda recipe: {"cell": cell.model_dump(mode="json"), **source_weights(recipe)},
        programs=[LOOP],
        trains=True,
    )
    def run(build: Build) -> Report:
        from hephaestus_dag.mixture.config import Component
        from hephaestus_dag.mixture.plan import plan_mixture
        from hephaestus_dag.scaling.branches import branch_jobs, keep_branches, run_branches
        from hephaestus_dag.training.config import ModelShape

        section, length = build.recipe.mixture, build.recipe.mixture.sequence_length
        branches = cell.branches(build.recipe.training.proxy, length)
        tokens = (branches[-1].steps or 0) * cell.global_batch_sequences * length
        components = tuple(Component(domain=domain, share=round(share, 9)) for domain, share in cell.shares.items() if share)
        weights = build.recipe.source_weights(web="tokenized_web" in stores)
        folders = tuple(build.input(store) for store in stores)
        plan_mixture(section.mixture(tokens, components, seed=cell.seed, weights=weights), folders, build.folder / "mixture")
        shape = ModelShape(max_position_embeddings=length, **cell.rung.model_dump(exclude={"name"}))
        heldout = heldout_streams(build.input("tokenized_seed"))
        if answers:
            heldout |= heldout_streams(build.input(answers))
        shared = {
            "title": build.key,
            "model": build.input(start) / "model" if start else shape,
            "tokenizer": build.input("tokenizer"),
            "mixture": build.folder / "mixture",
            "stores": folders,
            "heldout": heldout,
        }
        jobs = branch_jobs(shared, branches, build.work)
        views = {job.work: LiveView(build, job) for job in jobs}

        def in_turn(waiting: Sequence[TrainingJob]) -> None:
            threads = build.recipe.scaling_law.threads
            build.trainer.train_in_turn(waiting, build.log, lambda job, line: views[job.work].note(line), threads, build.warn)

        if start and not (build.input(start) / "model").is_dir():
            diverged = {job.work: f"{start}, which it continues, did so" for job in jobs}
        else:
            diverged = run_branches(jobs, in_turn)
        rows = keep_branches(jobs, diverged, build.folder)
        table = [
            {"tokens": row["tokens"], "steps": row["steps"], "status": row["status"], **_rounded(row["losses"])} for row in rows
        ]
        for row in rows:
            if row["status"] != "ok":
                build.warn(f"{build.key} at {row['tokens']:,} tokens {row['status']}; the fit leaves it out")
        said = "; ".join(
            f"{row['tokens']:,} tokens: " + (" ".join(f"{n} {loss:.2f}" for n, loss in row["losses"].items()) or row["status"])
            for row in rows
        )
        return Report(
            headline=f"held-out bits per byte: {said}",
            rows=len(rows),
            figures={
                "learning rate": cell.learning_rate,
                "sequences per step": cell.global_batch_sequences,
                "warm-up steps": branches[0].warmup_steps or 0,
            },
            tables={"token budgets (bits per byte)": table},
            pictures={"loss curve": "loss.png"} if (build.folder / "loss.png").is_file() else {},
        )

    return run


def proxy_runs(recipe: Recipe) -> list[ArtifactAsset]:
    """Return what the sweep is made of, its cells, and the asset that gathers them."""
    sweep = recipe.scaling_law.sweep
    cells, starts = plan_sweep(sweep), plan_starts(sweep)
    answers = ANSWERS if sweep.benchmark_items else None
    outside = ["tokenizer", *STORES, *(["benchmark_items"] if answers else [])]
    begun = [proxy_run(cell, f"{BACKBONES}{cell.name}", STORES[:1], None, answers) for cell in starts]
    start_of = {cell.name: backbone.key for cell, backbone in zip(starts, begun, strict=True)}
    declared = [proxy_run(cell, f"{SWEEP}/{cell.name}", STORES, start_of.get(cell.rung.name), answers) for cell in cells]

    @artifact(key=SWEEP, group=GROUP, kinds={"parquet"}, inputs=[*outside, *(cell.key for cell in declared)])
    def gathered(build: Build) -> Report:
        """Proxy models: several sizes at several agent ratios and token budgets, each with its held-out losses.

        The runs behind the scaling law (paper, section 4.3, Figure 3). Each cell is an artifact of its own, under this folder.
        """
        from hephaestus_dag.scaling.gather import gather_runs

        folders = [build.input(f"proxy_runs/{cell.name}") for cell in cells]
        runs = gather_runs(cells, folders, [build.input(store) for store in STORES], build.folder / "runs.parquet")
        sizes, ratios = {cell.rung.name for cell in cells}, {cell.agent_ratio for cell in cells}
        failed = sum(run.status != "ok" for run in runs)
        seconds = sum(build.inputs[cell.key].seconds for cell in declared)
        return Report(
            headline=f"{len(runs)} runs: {len(sizes)} sizes x {len(ratios)} agent ratios x {len(cells[0].budgets)} budgets"
            + (f"; {failed} diverged" if failed else ""),
            rows=len(runs),
            figures={
                "runs": len(runs),
                "diverged": failed,
                "training FLOPs (6 x parameters x tokens)": sum(run.flops for run in runs),
                f"{processor_hours(build.device)}, all cells": round(seconds * build.trainer.num_processes / 3600, 4),
            },
            tables={
                "losses (bits per byte)": [
                    {
                        "cell": run.cell,
                        "params": run.params,
                        "tokens": run.tokens,
                        "status": run.status,
                        **_rounded(run.losses),
                    }
                    for run in runs
                ]
            },
        )

    return [*([proxy_answers] if answers else []), *begun, *declared, gathered]


@artifact(
    group=GROUP,
    kinds={"scipy"},
    inputs=["proxy_runs"],
    recipe=["scaling_law.fit"],
    checks=[
        CheckDeclaration(
            name="loss_is_finite",
            description="Every proxy run ended with losses that are numbers; one that did not is left out, with its reason.",
            blocking=False,
        ),
        CheckDeclaration(
            name="optimum_is_supported",
            description="The fitted law passes every gate; if not, no ratio is taken from it.",
            blocking=False,
        ),
    ],
)
def fitted_power_law(build: Build) -> Report:
    """The law of held-out loss over size, tokens and agent ratio, with the ratio it supports and the doubt about it.

    The paper's Figure 3 (section 4.3). Where the runs cannot tell ratios apart it says so, and which runs would.
    """
    from hephaestus_dag.scaling.report import PICTURES, fit_and_write
    from hephaestus_dag.scaling.runs import read_runs

    runs = build.input("proxy_runs") / "runs.parquet"
    found = fit_and_write(runs, build.recipe.scaling_law.fit, build.folder, build.progress)
    failed = [f"{run.cell}: {run.status}" for run in read_runs(runs) if run.status != "ok"]
    low, high = found["interval"]
    cheap_low, cheap_high = found["regret_band"]
    supported = found["status"] == "supported"
    return Report(
        headline=f"{found['status']}: best {found['ratio']:.0%} agent, 95 % interval {low:.0%} to {high:.0%}; "
        f"{cheap_low:.0%} to {cheap_high:.0%} costs less than {found['regret']:.4f}",
        figures={name: value for name, value in found.items() if isinstance(value, (int, float, str))},
        tables={
            "best agent ratio": rounded(found["optima"]),
            **(
                {"why no optimum is supported": [{"reason": reason} for reason in found["reasons"]]} if found["reasons"] else {}
            ),
        },
        pictures=PICTURES,
        checks=[
            Check(name="loss_is_finite", passed=not failed, detail="; ".join(failed) or "all runs finished"),
            Check(name="optimum_is_supported", passed=supported, detail="; ".join(found["reasons"]) or "all gates passed"),
        ],
    )


def _rounded(losses: dict[str, float]) -> dict[str, float]:
    return {domain: round(loss, 4) for domain, loss in losses.items()}


def sweep_to_dagster(lineage: Lineage, asset: ArtifactAsset, pool: str | None) -> dg.AssetsDefinition:
    """Return the sweep as a graph asset: one dynamic op for each cell, which is its own artifact.

    As many cells train at once as the recipe says; where they wait in a pool, as many as that lets through.
    """
    at_once = lineage.recipe.scaling_law.cells_at_once
    starts = any(key.startswith(BACKBONES) for key in lineage.assets)
    outside = [key for key in asset.inputs if not key.startswith(f"{SWEEP}/")]

    def plan(name: str, prefix: str) -> dg.OpDefinition:
        @dg.op(name=name, ins={"ready": dg.In(dg.Nothing)}, out=dg.DynamicOut(str), required_resource_keys=RESOURCES)
        def give(context):
            for key in chosen(lineage, context).assets:
                if key.startswith(prefix):
                    yield dg.DynamicOutput(key, mapping_key=re.sub(r"\W", "_", key.removeprefix(prefix)))

        return give

    @dg.op(ins={name: dg.In(dg.Nothing) for name in outside}, out=dg.Out(dg.Nothing), required_resource_keys=RESOURCES)
    def prepare(context):
        run = chosen(lineage, context)
        if ANSWERS in run.assets:
            run.build(ANSWERS, context)

    def train(name: str) -> dg.OpDefinition:
        @dg.op(name=name, required_resource_keys=RESOURCES, pool=pool, tags={"dagster/priority": "-1"})
        def work(context, key: str) -> str:
            with slot(context.resources.store.cache / "proxy_slots", at_once):
                chosen(lineage, context).build(key, context)
            return key

        return work

    @dg.op(ins={"trained": dg.In(list)}, out=dg.Out(dg.Nothing))
    def all_started(trained):
        pass

    @dg.op(required_resource_keys=RESOURCES)
    def gather(context, keys: list):
        run = chosen(lineage, context)
        return result(run, asset.key, run.build(asset.key, context))

    @dg.graph_asset(
        key=asset.key,
        group_name=asset.group,
        kinds=set(asset.kinds),
        description=asset.description,
        code_version=lineage.local_version(asset.key),
        metadata={"recipe": lineage.recipe.name},
        ins={name: dg.AssetIn(name, dagster_type=dg.Nothing) for name in outside},
        hooks={say_what_failed},
    )
    def sweep(**inputs: Any):
        ready = prepare(**inputs)
        if starts:
            ready = all_started(plan("plan_starts", BACKBONES)(ready).map(train("pretrain_proxy")).collect())
        return gather(plan("plan_cells", f"{SWEEP}/")(ready).map(train("train_cell")).collect())

    return sweep
