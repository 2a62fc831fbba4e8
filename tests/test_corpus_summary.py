import hashlib
from pathlib import Path

import pytest

from hephaestus_dag.corpus_summary import summarise
from hephaestus_dag.documents import Document, DocumentWriter
from hephaestus_dag.mixture.config import TrainTokenizerConfig
from hephaestus_dag.mixture.tokenizer import load_tokenizer, train_tokenizer


def page(text: str, **more: str) -> Document:
    given = {"domain": "agent", "kind": "api_documentation", "source": "s", "origin": text, "license": "MIT", **more}
    return Document(text=text, **given)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    words = [hashlib.sha256(bytes([i])).hexdigest() + " of tea" for i in range(250)]
    train_tokenizer(words, TrainTokenizerConfig(vocab_size=300, sample_characters=100_000), folder)
    return folder


def test_counts_apis_once_and_estimates_tokens(tmp_path: Path, tokenizer: Path):
    documents = [
        page("Brews tea.", provider="tea.example", api="tea POST /brew", format="reference"),
        page("Brews tea, in version 2.", provider="tea.example", api="tea POST /brew", format="schema"),
        page("Pours tea.", provider="cup.example", api="cup POST /pour", format="schema", license="Apache-2.0"),
        page("x = 1\n", domain="code", kind="code", source="c"),
    ]
    with DocumentWriter(tmp_path) as writer:
        writer.write(documents)
    found = summarise(tmp_path, tokenizer)
    assert (found.documents, found.apis, found.api_documents, found.providers) == (4, 2, 3, 2)
    assert found.characters == sum(len(document.text) for document in documents)
    exact = sum(len(ids) for ids in load_tokenizer(tokenizer)([d.text for d in documents])["input_ids"])
    assert abs(found.tokens - exact) <= 3  # of few documents all are in the sample; each row is rounded
    assert [(row["kind"], row["license"], row["APIs"]) for row in found.by_source] == [
        ("api_documentation", "Apache-2.0", 1),
        ("api_documentation", "MIT", 1),
        ("code", "MIT", 0),
    ]
    assert [(row["provider"], row["documents"]) for row in found.by_provider] == [("tea.example", 2), ("cup.example", 1)]
    assert [(row["format"], row["documents"]) for row in found.by_format] == [("reference", 1), ("schema", 2)]
