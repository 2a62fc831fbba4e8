"""What every card ends with, and the whole card of an artifact that is neither data nor a model."""

from typing import Any

from hephaestus_dag.cards import markdown as md
from hephaestus_dag.manifests import Report, read_manifest
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, Node


def report_card(node: Node, graph: ArtifactGraph) -> str:
    """Return the card of an artifact from its report: headline, figures, tables, pictures, checks, how it was made."""
    report = node.report
    return md.document(
        f"# {node.key}",
        _sentence(report.headline),
        md.table([{"measure": name, "value": value} for name, value in report.figures.items()], 60) if report.figures else "",
        *(f"## {_title(title)}\n\n{md.table(rows)}" for title, rows in report.tables.items() if rows),
        pictures(report),
        checks(report),
        made(node, graph),
    )


def pictures(report: Report) -> str:
    """Return the pictures, as links to files beside the card in the artifact's folder."""
    return "\n\n".join(f"![{title}]({file})" for title, file in report.pictures.items())


def checks(report: Report) -> str:
    """Return what was verified, with what was measured."""
    rows = [
        {"check": check.name.replace("_", " "), "passed": "yes" if check.passed else "**no**", "measured": check.detail}
        for check in report.checks
    ]
    return f"## Checks\n\n{md.table(rows)}" if rows else ""


def failed(report: Report) -> list[str]:
    """Return a sentence for each check that failed."""
    return [f"The check *{c.name.replace('_', ' ')}* failed: {c.detail}." for c in report.checks if not c.passed]


def made(node: Node, graph: ArtifactGraph) -> str:
    """Return how an artifact came about: recipe values, inputs with fingerprints, files."""
    manifest = read_manifest(node.folder)
    identity, files = manifest["identity"], manifest["files"]
    inputs = [
        {"input": key, "fingerprint": f"`{made[:12]}`", "what it holds": _headline(graph, made)}
        for key, made in identity["inputs"].items()
    ]
    size = sum(file["size"] for file in files)
    listed: list[dict[str, Any]] = [
        {"file": file["path"], "bytes": file["size"], "rows": file["rows"], "sha256": f"`{file['sha256'][:12]}`"}
        for file in files
    ]
    parts = [
        "## How it was made",
        (
            f"Artifact `{node.name}`, built in {manifest['seconds']:,.1f} s by code version `{identity['code']}`. Its "
            "fingerprint covers the code, the recipe values and the inputs below; the hash of its bytes begins with "
            f"`{manifest['content'][:12]}`."
        ),
    ]
    if identity["values"]:
        parts.append(f"From the recipe, and versions of what was read from outside:\n\n{md.values(identity['values'])}")
    parts.append(md.table(inputs, 60) if inputs else "It has no inputs in the graph: it reads its sources.")
    parts.append(f"{len(files)} files, {size:,} bytes:\n\n{md.table(listed)}")
    return "\n\n".join(parts)


def _headline(graph: ArtifactGraph, fingerprint: str) -> str:
    node = graph.nodes.get(fingerprint)
    return node.report.headline if node else "no longer in the store"


def _sentence(text: str) -> str:
    return _title(text if text.endswith(".") else f"{text}.")


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]
