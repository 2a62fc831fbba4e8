from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from judge_server import JudgeServer, running_server

from hephaestus_dag.documents import Document, DocumentWriter, Domain


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """Write texts as a documents folder."""

    def write(name: str, texts: Sequence[str], domain: Domain = "agent", documents_per_shard: int = 20_000) -> Path:
        with DocumentWriter(tmp_path / name, documents_per_shard) as writer:
            writer.write(
                Document(text=text, domain=domain, kind="page", source=name, origin=f"{name} {number}", license="MIT")
                for number, text in enumerate(texts)
            )
        return tmp_path / name

    return write


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    """A chat server that judges pages."""
    with running_server() as server:
        yield server
