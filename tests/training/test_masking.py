"""Document masking: a document is learned and scored as if it stood alone."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from hephaestus_dag.mixture.loader import MixtureLoader
from hephaestus_dag.mixture.store import TokenStore
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.loop import train
from hephaestus_dag.training.metrics import read_metrics
from tests.training.conftest import LENGTH, Corpus

MakeJob = Callable[..., TrainingJob]


def pieces(tokens: np.ndarray, end: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield inputs and targets of each document in a sequence, alone: documents end with the token ``end``."""
    inputs, targets = torch.from_numpy(tokens[:-1]), torch.from_numpy(tokens[1:])
    borders = [0, *(np.flatnonzero(tokens[:-1] == end) + 1).tolist(), len(inputs)]
    for start, stop in pairwise(borders):
        if start < stop:
            yield inputs[start:stop], targets[start:stop]


@pytest.mark.parametrize("micro", [1, 4])
def test_losses_are_those_of_documents_alone(make_job: MakeJob, corpus: Corpus, micro: int) -> None:
    torch.set_num_threads(1)
    source = make_job(name="source")
    train(source)
    settings = {"document_masking": True, "micro_batch_sequences": micro, "learning_rate": 1e-9}
    job = make_job(name="masked", model=source.output / "model", **settings)
    summary = train(job)
    model = AutoModelForCausalLM.from_pretrained(source.output / "model").eval()
    end = 256  # The test tokenizer's end of text.

    def nats(windows: np.ndarray) -> float:
        with torch.no_grad():
            return sum(
                F.cross_entropy(model(inputs[None]).logits[0], targets, reduction="sum").item()
                for window in windows
                for inputs, targets in pieces(window, end)
            )

    batch = MixtureLoader(job.mixture, [corpus.store]).batch(0, 4, positions=True)
    assert batch.positions is not None
    assert ((batch.positions == 0)[:, 1:] == (batch.tokens[:, :-2] == end)).all()
    assert (batch.tokens[:, :-1] == end).any()
    first, plain = (next(x for x in read_metrics(j.metrics) if "loss" in x) for j in (job, source))
    assert first["loss"] == pytest.approx(nats(batch.tokens) / (4 * LENGTH), rel=1e-5)
    assert first["mix"] == plain["mix"]
    windows, _ = TokenStore(corpus.store).windows("text.heldout", LENGTH, 256 // LENGTH)
    assert summary["heldout_before"]["text"]["loss"] == pytest.approx(nats(windows) / 256, rel=1e-5)
    assert summary["heldout_before"] != read_metrics(source.metrics)[-1]["heldout"], "no document ends inside these windows"
