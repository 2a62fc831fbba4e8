"""An asset as Dagster runs and shows it: versions, metadata to look at, and check results."""

import base64
from collections.abc import Iterable
from typing import Any

import dagster as dg

from assets.artifact import ArtifactAsset, CheckDeclaration, Lineage
from assets.choice import chosen
from assets.failure import say_what_failed
from assets.showing_contents import contents_metadata
from assets.showing_values import amount, paragraph, shown, table, title_of
from hephaestus_dag.artifacts import Built, Check
from hephaestus_dag.training.progress import duration

RESOURCES = {"store", "compute", "trainer", "database", "recipe"}


def to_dagster(
    lineage: Lineage,
    asset: ArtifactAsset,
    pool: str | None,
    outside: Iterable[dg.AssetKey] = (),
    freshness: dg.FreshnessPolicy | None = None,
) -> dg.AssetsDefinition:
    """Return the Dagster asset of a declaration; `outside` are external assets that it reads.

    Its step is called ``build_<asset>``, because a job must not have the name of a step, and may have that of an asset.
    """
    key = asset_key(asset.key)
    spec = dg.AssetSpec(
        key,
        group_name=asset.group,
        kinds=set(asset.kinds),
        deps=[*map(asset_key, asset.inputs), *outside],
        description=asset.description,
        code_version=lineage.local_version(asset.key),
        metadata={"recipe": lineage.recipe.name},
        freshness_policy=freshness,
    )

    @dg.multi_asset(
        name=f"build_{key.to_python_identifier()}",
        specs=[spec],
        check_specs=check_specs(asset),
        pool=pool if asset.trains else None,
        op_tags={"dagster/priority": str(asset.priority)},
        required_resource_keys=RESOURCES,
        hooks={say_what_failed},
    )
    def compute(context) -> dg.MaterializeResult:
        run = chosen(lineage, context)
        return result(run, asset.key, run.build(asset.key, context))

    return compute


def asset_key(name: str) -> dg.AssetKey:
    """Return Dagster's key of a key whose parts are joined by slashes."""
    return dg.AssetKey(name.split("/"))


def check_specs(asset: ArtifactAsset) -> list[dg.AssetCheckSpec]:
    """Return the Dagster declarations of an asset's checks."""
    key = asset_key(asset.key)
    return [dg.AssetCheckSpec(c.name, asset=key, description=c.description, blocking=c.blocking) for c in asset.checks]


def result(lineage: Lineage, key: str, built: Built) -> dg.MaterializeResult:
    """Return what Dagster records of an asset: versions, the recipe, metadata to look at, and check results."""
    asset = lineage.assets[key]
    found = {check.name: check for check in built.artifact.report.checks}
    if found.keys() != {check.name for check in asset.checks}:
        raise ValueError(f"{asset.key} declares the checks {[c.name for c in asset.checks]} but reported {sorted(found)}")
    return dg.MaterializeResult(
        asset_key=asset_key(asset.key),
        data_version=dg.DataVersion(built.artifact.fingerprint[:12]),
        metadata={"recipe": lineage.recipe.name, **_metadata(built)},
        check_results=[_check_result(asset, declaration, found[declaration.name]) for declaration in asset.checks],
    )


def _check_result(asset: ArtifactAsset, declaration: CheckDeclaration, check: Check) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=asset_key(asset.key),
        check_name=declaration.name,
        passed=check.passed,
        severity=dg.AssetCheckSeverity.ERROR if declaration.blocking else dg.AssetCheckSeverity.WARN,
        metadata={"measured": check.detail},
    )


def _metadata(built: Built) -> dict[str, Any]:
    """Return what the page shows, in this order: what was found, what the folder holds, what it took, and numbers to plot."""
    artifact, report = built.artifact, built.artifact.report
    metadata: dict[str, Any] = {"headline": dg.MetadataValue.md(paragraph(report.headline))}
    for title, name in report.pictures.items():
        picture = base64.b64encode((artifact.path / name).read_bytes()).decode()
        metadata[title] = dg.MetadataValue.md(f"![{title}](data:image/png;base64,{picture})")
    if report.figures:
        metadata["at a glance"] = table([{"figure": title_of(name), "value": shown(v)} for name, v in report.figures.items()])
    for title, rows in report.tables.items():
        metadata[title] = table(rows) if rows else "empty"
    metadata |= contents_metadata(artifact.path, sampled="sample" not in report.tables)
    if report.rows is not None:
        metadata["dagster/row_count"] = report.rows
    metadata |= {
        "folder": dg.MetadataValue.path(artifact.path),
        "dagster/uri": artifact.path.as_uri(),  # for programs: the page does not show it
        "size": amount(artifact.num_bytes),
        "time to build": duration(artifact.seconds),
        "reused": built.reused,
    }
    if built.reasons:
        metadata["built because"] = dg.MetadataValue.md("\n".join(f"- {reason}" for reason in built.reasons))
    for_plots = {
        "fingerprint": artifact.fingerprint,
        "content": artifact.content,
        "size in MB": round(artifact.num_bytes / 1e6, 2),
        "seconds to build": artifact.seconds,
        **{title_of(name): value for name, value in report.figures.items() if not isinstance(value, str)},
    }
    return metadata | {name: value for name, value in for_plots.items() if name not in metadata}
