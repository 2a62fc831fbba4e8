import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from hephaestus_dag.evaluation.benchmark_loss import answer_rows, evaluate_benchmark_loss, heldout_rows
from hephaestus_dag.evaluation.bfcl.references import bfcl_references
from hephaestus_dag.evaluation.config import BenchmarkLossConfig
from hephaestus_dag.evaluation.huggingface import HuggingFaceModel
from hephaestus_dag.evaluation.model import CannotScoreError, Likelihood
from hephaestus_dag.evaluation.prompts import render_chat
from hephaestus_dag.evaluation.references import Reference

DOCUMENTS = ["the weather in Oslo", "calls a function with its arguments, čeština", "never reached"]


@pytest.fixture(scope="module")
def generator(tiny_model: Path) -> HuggingFaceModel:
    return HuggingFaceModel(tiny_model)


@pytest.fixture
def store(generator: HuggingFaceModel, tmp_path: Path) -> Path:
    end = generator.tokenizer.eos_token_id
    ids = [[*generator.tokenizer(text)["input_ids"], end] for text in DOCUMENTS]
    offsets = np.cumsum([0, *map(len, ids)]).tolist()
    folder = tmp_path / "store"
    (folder / "streams").mkdir(parents=True)
    np.array([token for row in ids for token in row], dtype="uint16").tofile(folder / "streams" / "text.heldout.bin")
    rows = [
        {"document_id": f"d{i}", "stream": "text.heldout", "domain": "text", "split": "heldout", "offset": o, "length": len(r)}
        for i, (o, r) in enumerate(zip(offsets, ids, strict=False))
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "ledger.parquet")
    streams = {
        "text": {"domain": "text", "split": "train"},
        "text.heldout": {"domain": "text", "split": "heldout"},
    }
    (folder / "store.json").write_text(
        json.dumps({"dtype": "uint16", "vocab_size": len(generator.tokenizer), "streams": streams})
    )
    return folder


def bits(generator: HuggingFaceModel, context: list[int], target: list[int]) -> float:
    with torch.inference_mode():
        logits = generator.model(torch.tensor([context + target])).logits[0]
    logprobs = logits.log_softmax(-1)[len(context) - 1 : -1]
    return -float(logprobs.gather(1, torch.tensor(target)[:, None]).sum()) / math.log(2)


def test_answers_are_scored_given_the_prompt(generator: HuggingFaceModel, bfcl_items: Path):
    config = BenchmarkLossConfig(items_per_category=2, max_tokens=3_000)
    rows = answer_rows(generator, list(bfcl_references(bfcl_items, config)), config)
    items = {f"bfcl/{row['item_id']}": row for row in pq.read_table(bfcl_items / "items.parquet").to_pylist()}
    assert {row["category"] for row in rows} == {f"bfcl/{i['category']}" for i in items.values() if i["reference"]}
    scored = next(row for row in rows if row["bits"] is not None)
    item = items[scored["item_id"]]
    assert scored["bytes"] == len(item["reference"].encode())
    encode = generator.tokenizer
    context = encode(render_chat(encode, json.loads(item["prompt"])))["input_ids"]
    assert scored["bits"] == pytest.approx(bits(generator, context, encode(item["reference"])["input_ids"]), rel=1e-4)
    assert all(row["reason"] for row in rows if row["bits"] is None)


def test_heldout_documents_are_scored_whole(generator: HuggingFaceModel, store: Path):
    rows = heldout_rows(generator, store, BenchmarkLossConfig(heldout_tokens=len(DOCUMENTS[0])))
    assert rows[0]["item_id"] == "d0"
    assert len(rows) < 3
    for row, text in zip(rows, DOCUMENTS, strict=False):
        assert row["bytes"] == len(text.encode())
        ids = generator.tokenizer(text)["input_ids"]
        assert row["bits"] == pytest.approx(bits(generator, [generator.start_id], ids), rel=1e-4)


def test_long_documents_are_cut_into_windows(generator: HuggingFaceModel, store: Path):
    (row,) = heldout_rows(generator, store, BenchmarkLossConfig(heldout_tokens=1, max_tokens=6))
    ids = generator.tokenizer(DOCUMENTS[0])["input_ids"]
    before = [generator.start_id, *ids]
    expected = sum(bits(generator, [before[i]], ids[i : i + 5]) for i in range(0, len(ids), 5))
    assert row["bits"] == pytest.approx(expected, rel=1e-4)


ANSWERS = [
    Reference(item_id="bfcl/a", category="bfcl/simple_python", prompt=[{"role": "user", "content": "now"}], target="[f(x=1)]"),
    Reference(item_id="bfcl/b", category="bfcl/multiple", prompt=[{"role": "user", "content": "then"}], target="[g(y='é')]"),
    Reference(item_id="mmlu/c", category="mmlu/stem", prompt="Question: 1?\nAnswer:", target=" stone"),
    Reference(item_id="gsm8k/d", category="gsm8k/answers", prompt="x" * 900, target=" too long"),
]


def test_the_summary_divides_sums(generator: HuggingFaceModel, store: Path, tmp_path: Path):
    config = BenchmarkLossConfig(max_tokens=600, heldout_tokens=10**6)
    summary = evaluate_benchmark_loss(generator, ANSWERS, [store], config, tmp_path / "loss", weights=generator)
    rows = {row["item_id"]: row for row in pq.read_table(tmp_path / "loss" / "rows.parquet").to_pylist()}
    pooled = (rows["bfcl/a"]["bits"] + rows["bfcl/b"]["bits"]) / len("[f(x=1)][g(y='é')]".encode())
    group = summary["groups"]["loss on BFCL answers"]
    assert group["score"] == pytest.approx(pooled, abs=1e-5)
    assert group["low"] <= group["score"] <= group["high"]
    assert summary["groups"]["loss on MMLU answers"]["n"] == 1
    assert "loss on GSM8K answers" not in summary["groups"]
    assert rows["gsm8k/d"]["reason"] == "prompt and answer too long"
    assert summary["groups"]["loss on held-out text"]["n"] == 3


def test_a_server_has_no_loss_on_token_streams_and_perhaps_none_on_answers(store: Path, tmp_path: Path):
    class Server:
        identity: Mapping[str, Any] = MappingProxyType({})
        generate: Any = None

        def loglikelihood(self, pairs: Any, *_: Any, **__: Any) -> list[Likelihood]:
            raise CannotScoreError("the server returns no log-likelihoods")

    summary = evaluate_benchmark_loss(Server(), ANSWERS, [store], BenchmarkLossConfig(), tmp_path / "loss")
    assert summary["groups"] == {}
    assert summary["not_run"]["loss on answers"] == "the server returns no log-likelihoods"
    assert "a server has not" in summary["not_run"]["loss on held-out documents"]


def test_a_store_of_another_vocabulary_is_refused(generator: HuggingFaceModel, store: Path):
    description = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps(description | {"vocab_size": 50_000}))
    with pytest.raises(ValueError, match="make the store with the model's tokenizer"):
        heldout_rows(generator, store, BenchmarkLossConfig())
