"""The made corpus, its tokenizer and its token store, written once."""

from pathlib import Path

import pytest
from mixture_corpus import STORE, TOKENIZER, write_documents

from hephaestus_dag.mixture.tokenise import sample_texts, tokenise_documents
from hephaestus_dag.mixture.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    write_documents(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer_folder(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(sample_texts([documents], TOKENIZER), TOKENIZER, folder)
    return folder


@pytest.fixture(scope="session")
def store(documents: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    tokenise_documents(documents, tokenizer_folder, folder, STORE)
    return folder
