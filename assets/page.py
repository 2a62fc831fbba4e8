"""An asset as Dagster runs and shows it: versions, metadata to look at, and check results."""

import base64
from typing import Any

import dagster as dg

from assets.artifact import ArtifactAsset, CheckDeclaration, Lineage
from hephaestus_dag.artifacts import Built, Check, canonical_json


def to_dagster(lineage: Lineage, asset: ArtifactAsset, pool: str | None) -> dg.AssetsDefinition:
    """Return the Dagster asset of a declaration."""

    @dg.asset(
        key=dg.AssetKey(asset.key.split("/")),
        group_name=asset.group,
        kinds=set(asset.kinds),
        deps=[dg.AssetKey(name.split("/")) for name in asset.inputs],
        description=asset.description,
        code_version=lineage.local_version(asset.key),
        check_specs=check_specs(asset),
        pool=pool if asset.trains else None,
        op_tags={"dagster/priority": str(asset.priority)},
        required_resource_keys={"store", "compute", "trainer", "database"},
        metadata={"recipe": lineage.recipe.name},
    )
    def compute(context) -> dg.MaterializeResult:
        return result(asset, lineage.build(asset.key, context))

    return compute


def check_specs(asset: ArtifactAsset) -> list[dg.AssetCheckSpec]:
    """Return the Dagster declarations of an asset's checks."""
    key = dg.AssetKey(asset.key.split("/"))
    return [dg.AssetCheckSpec(c.name, asset=key, description=c.description, blocking=c.blocking) for c in asset.checks]


def result(asset: ArtifactAsset, built: Built) -> dg.MaterializeResult:
    """Return what Dagster records: versions, metadata to look at, and check results."""
    found = {check.name: check for check in built.artifact.report.checks}
    if found.keys() != {check.name for check in asset.checks}:
        raise ValueError(f"{asset.key} declares the checks {[c.name for c in asset.checks]} but reported {sorted(found)}")
    return dg.MaterializeResult(
        asset_key=dg.AssetKey(asset.key.split("/")),
        data_version=dg.DataVersion(built.artifact.fingerprint[:12]),
        metadata=_metadata(built),
        check_results=[_check_result(asset, declaration, found[declaration.name]) for declaration in asset.checks],
    )


def _check_result(asset: ArtifactAsset, declaration: CheckDeclaration, check: Check) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(asset.key.split("/")),
        check_name=declaration.name,
        passed=check.passed,
        severity=dg.AssetCheckSeverity.ERROR if declaration.blocking else dg.AssetCheckSeverity.WARN,
        metadata={"measured": check.detail},
    )


def _metadata(built: Built) -> dict[str, Any]:
    artifact, report = built.artifact, built.artifact.report
    metadata: dict[str, Any] = {"headline": report.headline, **report.figures}
    if report.rows is not None:
        metadata["dagster/row_count"] = report.rows
    for title, rows in report.tables.items():
        metadata[title] = dg.MetadataValue.table(_records(rows)) if rows else "empty"
    for title, name in report.pictures.items():
        picture = base64.b64encode((artifact.path / name).read_bytes()).decode()
        metadata[title] = dg.MetadataValue.md(f"![{title}](data:image/png;base64,{picture})")
    metadata |= {
        "dagster/uri": artifact.path.as_uri(),
        "fingerprint": artifact.fingerprint,
        "content": artifact.content,
        "size in MB": round(artifact.num_bytes / 1e6, 2),
        "seconds to build": artifact.seconds,
        "reused": built.reused,
    }
    if built.reasons:
        metadata["built because"] = dg.MetadataValue.md("\n".join(f"- {reason}" for reason in built.reasons))
    return metadata


def _records(rows: list[dict[str, Any]]) -> list[dg.TableRecord]:
    """Return rows for the UI: every row with every column, and nothing but plain values."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [dg.TableRecord({name: _plain(row.get(name, "")) for name in columns}) for row in rows]


def _plain(value: Any) -> str | int | float | bool:
    return value if isinstance(value, (str, int, float, bool)) else canonical_json(value)
