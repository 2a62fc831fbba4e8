"""Canaries: pages whose fate is known before they are sent through retrieval and the quality filter.

Planted are documents of the seed corpus that nothing learned from: they must come through. Junk is packaged (``canaries/``):
recipes, gossip, cookie banners, noise. None of it may. A page comes through retrieval when it scores above the reach of some
query (`retrieval.search`), and through the filter when its quality score is at least the threshold: nothing is searched again.
"""

import hashlib
import importlib.resources
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hephaestus_dag.documents import Domain
from hephaestus_dag.quality.config import ClassifierConfig
from hephaestus_dag.quality.examples import split_of
from hephaestus_dag.quality.scoring import score_texts
from hephaestus_dag.retrieval.config import RetrievalConfig
from hephaestus_dag.retrieval.encoding import TextEncoder
from hephaestus_dag.retrieval.queries import Queries, beginning, draw_candidates, open_queries, texts_of

DIVIDER = "\n---\n"
PLANTED_RECALL, JUNK_LET_THROUGH = 0.95, 0.05
"""Share of the planted pages that must come through, at least, and of the junk that may, at most."""


@dataclass(frozen=True, slots=True)
class Canaries:
    """Pages of one sort, and what became of each."""

    names: list[str]
    """Document ids, or file and number of packaged texts."""
    beginnings: list[str]
    """How they begin."""
    retrieved: np.ndarray
    """bool (pages): whether some query would have brought the page."""
    kept: np.ndarray
    """bool (pages): whether the filter would keep the page, if it were retrieved."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def through(self) -> np.ndarray:
        """Whether each page comes through both."""
        return self.retrieved & self.kept

    def rows(self, through: bool) -> list[dict[str, Any]]:
        """Return the pages that came through, or those that did not, with what each step said."""
        return [
            {
                "page": self.names[i],
                "beginning": self.beginnings[i],
                "retrieved": bool(self.retrieved[i]),
                "kept": bool(self.kept[i]),
            }
            for i in np.flatnonzero(self.through == through).tolist()
        ]


@dataclass(frozen=True, slots=True)
class CanaryReport:
    """What became of the planted pages and of the junk."""

    planted: Canaries
    junk: Canaries

    @property
    def planted_recall(self) -> float:
        """Share of the planted pages that came through both steps, 0 to 1."""
        return float(self.planted.through.mean())

    @property
    def junk_let_through(self) -> float:
        """Share of the junk that came through both steps, 0 to 1."""
        return float(self.junk.through.mean())

    @property
    def lost(self) -> list[dict[str, Any]]:
        """Planted pages that did not come through."""
        return self.planted.rows(through=False)

    @property
    def let_through(self) -> list[dict[str, Any]]:
        """Junk that came through."""
        return self.junk.rows(through=True)

    def table(self) -> list[dict[str, Any]]:
        """Return the shares that pass each step alone, and both, as rows."""
        return [
            {
                "canaries": name,
                "pages": len(pages),
                "retrieved": float(pages.retrieved.mean()),
                "kept by the filter": float(pages.kept.mean()),
                "through both": float(pages.through.mean()),
            }
            for name, pages in (("planted agent pages", self.planted), ("junk", self.junk))
        ]


def canary_check(
    seed_corpus: Path,
    queries: Path,
    reach: Path,
    classifier: Path,
    threshold: float,
    encoder: TextEncoder,
    count: int = 100,
    seed: int = 0,
    domains: Sequence[Domain] = ("agent",),
    max_queries_per_document: int = 10,
) -> CanaryReport:
    """Send up to ``count`` planted pages and all packaged junk through retrieval and filter.

    ``queries`` and ``classifier`` are folders of `write_queries` and `train_classifier`, ``reach`` the reach.parquet of
    `retrieve`, ``threshold`` the quality score that the filter asks for; of a page only its best ``max_queries_per_document``
    queries count, as in `retrieve`. A planted page is a seed document of ``domains`` that
    the classifier was neither trained nor tuned on and that is no candidate, drawn evenly over kinds and sources by ``seed``.
    Where all of them are candidates, these are taken; a query then does not count for itself.

    Raises ValueError when the encoder is not that of the queries, when ``reach`` belongs to other queries, or when every
    document of the seed corpus was learned from.
    """
    searching = open_queries(queries)
    if json.loads(json.dumps(encoder.identity)) != searching.candidates.encoder:
        raise ValueError(f"the canaries' encoder is not the one that encoded {queries}; write the queries again")
    reached = reach_of(searching, reach)
    ids = draw_planted(seed_corpus, searching, classifier, count, seed, domains)
    found = {i: text for block in texts_of(seed_corpus, ids) for i, text in zip(*block, strict=True)}

    def judged(texts: dict[str, str]) -> Canaries:
        scores = encoder.encode(list(texts.values())) @ searching.vectors.T
        scores[np.array(list(texts))[:, None] == np.array(searching.ids)] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :max_queries_per_document]
        retrieved = np.any(np.take_along_axis(scores > reached, best, axis=1), axis=1)
        kept = score_texts(classifier, list(texts.values())) >= np.float32(threshold)
        return Canaries(list(texts), [beginning(text) for text in texts.values()], retrieved, kept)

    return CanaryReport(judged({i: found[i] for i in ids}), judged(junk_texts()))


def reach_of(queries: Queries, reach: Path) -> np.ndarray:
    """Return the score that a page has to exceed for each query, in the order of the queries: float32 (queries,)."""
    table = pq.read_table(reach, columns=["query_id", "score"])
    score = dict(zip(table["query_id"].to_pylist(), table["score"].to_pylist(), strict=True))
    if set(score) != set(queries.ids):
        raise ValueError(f"{reach.name} belongs to other queries; retrieve again")
    return np.array([score[identity] for identity in queries.ids], dtype=np.float32)


def draw_planted(
    seed_corpus: Path, queries: Queries, classifier: Path, count: int, seed: int, domains: Sequence[Domain]
) -> list[str]:
    """Return the ids of the seed documents to plant."""
    settings = ClassifierConfig.model_validate_json((classifier / "classifier.json").read_text())
    everything = RetrievalConfig(query_domains=tuple(domains), num_candidates=None, num_queries=None, seed=seed)
    unseen = [i for i in draw_candidates(seed_corpus, everything) if split_of(i, settings) == "held_out"]
    if not unseen:
        raise ValueError("the classifier learned from every document of the seed corpus; set held_out_share higher")
    candidates = set(queries.candidates.ids.to_pylist())
    return ([i for i in unseen if i not in candidates] or unseen)[:count]


def junk_texts() -> dict[str, str]:
    """Return the packaged junk by name: file and number."""
    folder = importlib.resources.files("hephaestus_dag.quality") / "canaries"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".txt")), key=lambda f: f.name)
    return {
        f"{file.name.removesuffix('.txt')} {number}": text.strip()
        for file in files
        for number, text in enumerate(file.read_text(encoding="utf-8").split(DIVIDER), 1)
    }


def junk_digest() -> str:
    """Return the SHA-256 of the packaged junk, which decides what the check finds."""
    return hashlib.sha256(json.dumps(junk_texts()).encode()).hexdigest()
