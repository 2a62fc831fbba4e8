"""What each model was shown of some documents, by the plans of its mixtures and the ledgers of the token stores."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hephaestus_dag.evaluation.trained_on import tokens_shown, visits_of
from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.mixture.store import MixtureError
from hephaestus_dag.provenance.artifact_graph import ArtifactGraph, Node, Stage
from hephaestus_dag.provenance.found import InModel
from hephaestus_dag.provenance.trace import shown_tokens

Selected = dict[str, tuple[np.ndarray, np.ndarray]]
"""By stream of a token store: offsets and lengths, in tokens, of the documents that are meant."""


def in_models(
    graph: ArtifactGraph, selected: dict[Path, Selected], in_part: set[Path | None]
) -> tuple[list[InModel], list[str]]:
    """Return what each model was shown of the selected documents, and why some models could not be looked into.

    ``in_part`` are the token stores of which the selection may be too small.
    """
    found, unknown, failed = [], list[str](), set[str]()
    shown: dict[str, tuple[int, dict[tuple[Path, str], np.ndarray]]] = {}
    for node in graph.nodes.values():
        if not node.is_model:
            continue
        stages = graph.stages(node)
        gone = list(dict.fromkeys(each for stage in stages for each in graph.gone(stage.checkpoint)))
        if gone:
            unknown.append(f"{node.name}: of its training {', '.join(gone)}")
        for stage in stages:
            if stage.checkpoint.fingerprint not in shown:
                try:
                    shown[stage.checkpoint.fingerprint] = _in_stage(stage, selected)
                except (MixtureError, OSError) as error:
                    shown[stage.checkpoint.fingerprint] = (0, {})
                    failed.add(stage.checkpoint.fingerprint)
                    unknown.append(f"{stage.checkpoint.name}: {error}")
        complete = not gone and failed.isdisjoint(stage.checkpoint.fingerprint for stage in stages)
        complete = complete and in_part.isdisjoint(store for stage in stages for store in stage.stores)
        found += _in_model(node, stages, shown, selected, complete)
    return found, unknown


def _in_stage(stage: Stage, selected: dict[Path, Selected]) -> tuple[int, dict[tuple[Path, str], np.ndarray]]:
    """Return how many tokens a stage showed, and of each selected document by token store and stream."""
    if stage.mixture is None:
        return 0, {}
    loader = MixtureLoader(stage.mixture, stage.stores)
    found: dict[tuple[Path, str], np.ndarray] = {}
    for number, stream in enumerate(loader.streams):
        place = loader.stores[stream["store"]].folder, stream["name"]
        if stream["name"] in selected.get(place[0], {}):
            offsets, lengths = selected[place[0]][stream["name"]]
            visits = visits_of(loader, number, last=stage.sequences)
            found[place] = tokens_shown(offsets, lengths, visits, loader.sequence_length) + found.get(place, 0)
    return shown_tokens(loader, stage.sequences), found


def _in_model(
    node: Node,
    stages: list[Stage],
    shown: dict[str, tuple[int, dict[tuple[Path, str], np.ndarray]]],
    selected: dict[Path, Selected],
    complete: bool,
) -> Iterator[InModel]:
    total = sum(shown[stage.checkpoint.fingerprint][0] for stage in stages)
    by_stage, by_document = dict[str, int](), dict[tuple[Path, str], np.ndarray]()
    for stage in stages:
        _, of_stage = shown[stage.checkpoint.fingerprint]
        by_stage[stage.checkpoint.name] = sum(int(tokens.sum()) for tokens in of_stage.values())
        for place, tokens in of_stage.items():
            by_document[place] = tokens + by_document.get(place, 0)
    seen = sum(by_stage.values())
    if seen:
        unique = sum(int(selected[folder][name][1][tokens > 0].sum()) for (folder, name), tokens in by_document.items())
        yield InModel(
            artifact=node.name,
            documents=sum(int((tokens > 0).sum()) for tokens in by_document.values()),
            tokens=seen,
            share=seen / total if complete else None,
            times=round(seen / unique, 3) if complete else None,
            stages={name: tokens for name, tokens in by_stage.items() if tokens},
            complete=complete,
        )
