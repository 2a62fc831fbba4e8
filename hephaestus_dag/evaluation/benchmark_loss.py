"""Bits per byte of reference answers, the prompt masked, and of held-out documents: the signal that small models do give.

Bits per byte = -(log-likelihood in nats) / (UTF-8 bytes × ln 2). Log-likelihoods and bytes are summed over a set, then divided.
It does not depend on the tokenizer, so models of different vocabularies compare.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hephaestus_dag.evaluation.config import BenchmarkLossConfig
from hephaestus_dag.evaluation.huggingface import HuggingFaceModel
from hephaestus_dag.evaluation.model import CannotScoreError, Likelihood, Model, Progress
from hephaestus_dag.evaluation.references import Reference
from hephaestus_dag.evaluation.scores import Benchmark, Group, write_scores

TITLES = {"bfcl": "BFCL", "agentbench": "AgentBench", "mmlu": "MMLU", "gsm8k": "GSM8K", "humaneval": "HumanEval"}
"""Names of the benchmarks, in the order of the report."""
LOSS_SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("category", pa.string()),
        ("bits", pa.float64()),
        ("bytes", pa.int64()),
        ("tokens", pa.int64()),
        ("reason", pa.string()),
    ]
)


def evaluate_benchmark_loss(
    model: Model,
    references: Iterable[Reference],
    stores: Sequence[Path],
    config: BenchmarkLossConfig,
    folder: Path,
    progress: Progress | None = None,
    *,
    weights: HuggingFaceModel | None = None,
    confidence: float = 0.95,
    num_samples: int = 2_000,
) -> dict[str, Any]:
    """Write the score folder (see ``scores``) of a model's loss and return its summary.

    The held-out streams of the token stores ``stores`` are scored document by document by ``weights``, the model itself where
    it runs here: a server knows nothing of token ids. An answer that does not fit into ``max_tokens`` has no score and its row
    says so. Raises ValueError when a store was not made with the model's vocabulary.
    """
    rows: list[dict[str, Any]] = []
    not_run: dict[str, str] = {}
    try:
        rows += answer_rows(model, list(references), config, progress)
    except CannotScoreError as error:
        not_run["loss on answers"] = str(error)
    if weights is not None:
        for store in stores:
            rows += heldout_rows(weights, store, config)
    elif stores and config.heldout_tokens:
        not_run["loss on held-out documents"] = "needs the model's own tokens, which a model folder has and a server has not"
    table = pa.Table.from_pylist(rows, LOSS_SCHEMA)
    return write_scores(folder, table, loss_benchmark(rows, not_run), confidence, num_samples)


def answer_rows(
    model: Model, references: Sequence[Reference], config: BenchmarkLossConfig, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Return a row for each reference answer: the bits of the answer given its prompt."""
    likelihoods = model.loglikelihood([(each.prompt, each.target) for each in references], config.max_tokens, progress)
    return [
        _row(each.item_id, each.category, likelihood, len(each.target.encode()))
        for each, likelihood in zip(references, likelihoods, strict=True)
    ]


def heldout_rows(model: HuggingFaceModel, store: Path, config: BenchmarkLossConfig) -> list[dict[str, Any]]:
    """Return a row for each held-out document of a token store: category ``heldout/<domain>``.

    Whole documents are taken from the start of each stream until ``heldout_tokens`` are reached. A document longer than
    ``max_tokens`` is scored in windows, each seeing only the token before it.
    """
    description = json.loads((store / "store.json").read_text())
    if description["vocab_size"] > model.vocab_size:
        raise ValueError(
            f"{store.name}: its tokens are from a vocabulary of {description['vocab_size']}, the model's has "
            f"{model.vocab_size}: make the store with the model's tokenizer"
        )
    window = min(config.max_tokens, model.context_length) - 1
    rows: list[dict[str, Any]] = []
    for name, stream in sorted(description["streams"].items()):
        if stream["split"] != "heldout" or not config.heldout_tokens:
            continue
        documents = list(_documents(store, name, description["dtype"], config.heldout_tokens, model.tokenizer))
        pairs, owners = [], []
        for number, (_, tokens) in enumerate(documents):
            preceding = [model.start_id, *tokens]
            for start in range(0, len(tokens), window):
                pairs.append(([preceding[start]], tokens[start : start + window]))
                owners.append(number)
        sums = np.zeros(len(documents))
        for number, likelihood in model.token_likelihoods(pairs):
            assert likelihood.sum_logprob is not None  # windows fit by construction
            sums[owners[number]] += likelihood.sum_logprob
        for (document, tokens), total in zip(documents, sums, strict=True):
            size = len(model.tokenizer.decode(tokens).encode())
            if size:
                rows.append(_row(document, f"heldout/{stream['domain']}", Likelihood(float(total), len(tokens)), size))
    return rows


def _documents(store: Path, name: str, dtype: str, num_tokens: int, tokenizer: Any) -> Iterator[tuple[str, list[int]]]:
    """Yield (document id, tokens without the markers at its ends) from the start of a stream until ``num_tokens``."""
    ledger = pq.read_table(store / "ledger.parquet", filters=[("stream", "=", name)]).sort_by("offset")
    tokens = np.memmap(store / "streams" / f"{name}.bin", dtype=dtype, mode="r")
    markers = set(tokenizer.all_special_ids)
    taken = 0
    for row in ledger.to_pylist():
        if taken >= num_tokens:
            return
        ids = tokens[row["offset"] : row["offset"] + row["length"]].tolist()
        while ids and ids[-1] in markers:
            ids.pop()
        if ids and ids[0] in markers:
            ids = ids[1:]
        taken += len(ids)
        if ids:
            yield row["document_id"], ids


def _row(item_id: str, category: str, likelihood: Likelihood, num_bytes: int) -> dict[str, Any]:
    nats = likelihood.sum_logprob
    return {
        "item_id": item_id,
        "category": category,
        "bits": None if nats is None else round(-nats / math.log(2), 4),
        "bytes": num_bytes,
        "tokens": likelihood.num_target_tokens,
        "reason": "prompt and answer too long" if nats is None else "",
    }


def loss_benchmark(rows: Sequence[dict[str, Any]], not_run: dict[str, str] | None = None) -> Benchmark:
    """Return the groups of the loss: the answers of each benchmark pooled by bytes, and each held-out domain."""
    sizes: dict[str, int] = {}
    for row in rows:
        if row["bits"] is not None:
            sizes[row["category"]] = sizes.get(row["category"], 0) + row["bytes"]
    groups = []
    for benchmark, title in TITLES.items():
        answers = {category: size for category, size in sorted(sizes.items()) if category.startswith(f"{benchmark}/")}
        if answers:
            weights = {category: size / sum(answers.values()) for category, size in answers.items()}
            definition = "reference answers given their prompts, pooled over categories"
            if benchmark == "bfcl":
                definition += "; single-turn items only, for a multi-turn item's answer depends on what the model did before"
            groups.append(Group(name=f"loss on {title} answers", definition=definition, weights=weights))
    groups += [
        Group(name=f"loss on held-out {category.partition('/')[2]}", definition="all its documents", weights={category: 1.0})
        for category in sorted(sizes)
        if category.startswith("heldout/")
    ]
    return Benchmark(
        key="benchmark_loss",
        name="benchmark loss",
        metric="bits per byte",
        higher_is_better=False,
        numerator="bits",
        denominator="bytes",
        groups=tuple(groups),
        not_run=not_run or {},
    )
