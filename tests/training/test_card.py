import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from hephaestus_dag.training.card import model_card
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.loop import train

MakeJob = Callable[..., TrainingJob]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def mixture_of(job: TrainingJob) -> dict:
    return json.loads((job.mixture / "mixture.json").read_text())


def front_matter(card: str) -> dict:
    opening, head, _ = card.split("---\n", 2)
    assert opening == ""
    return yaml.safe_load(head)


def cells(card: str, first: str) -> list[str]:
    (line,) = [line for line in card.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_card_tells_what_a_run_measured(make_job: MakeJob) -> None:
    job = make_job(title="hephaestus/stage1_checkpoint", learning_rate=0.0123)
    train(job)
    summary = json.loads((job.output / "summary.json").read_text())
    card = model_card(summary, job.config, mixture_of(job), None)
    assert front_matter(card) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "language": ["en"],
        "tags": ["agent", "function-calling", "continual-pretraining"],
    }
    assert "Stage I: continual" in card
    assert f"{summary['parameters']['total']:,} parameters" in card
    assert "12 steps of 4 sequences of 32 tokens: 1,536 tokens" in card
    assert f"final training loss: {summary['loss']:.4f}" in card
    assert cells(card, "learning_rate") == ["learning_rate", "0.0123"]
    for domain in ("agent", "text"):
        tokens = summary["mix"][domain]
        unique = json.loads((job.mixture / "mixture.json").read_text())["components"][domain]["unique_tokens"]
        shown = [line for line in card.splitlines() if line.startswith(f"| {domain} | {tokens:,} |")]
        assert shown == [f"| {domain} | {tokens:,} | 50.0% | {tokens / unique:.2f} |"]
        before, after = summary["heldout_before"][domain], summary["heldout"][domain]
        numbers = [before["bits_per_byte"], after["bits_per_byte"], before["loss"], after["loss"]]
        assert f"| {domain} | {' | '.join(f'{number:.4f}' for number in numbers)} |" in card


def test_the_sources_of_the_mixture_are_listed_with_their_epochs(make_job: MakeJob) -> None:
    job = make_job()
    train(job)
    source = {"source": "a|b", "domain": "agent", "store": 0, "tokens": 1_234, "unique_tokens": 617, "epochs": 2.0}
    mixture = {**mixture_of(job), "sources": [source]}
    summary = json.loads((job.output / "summary.json").read_text())
    card = model_card(summary, job.config, mixture, None)
    assert "| a\\|b | agent | 1,234 | 2.00 |" in card


@pytest.mark.parametrize(
    ("backbone", "base_model"),
    [
        ("meta-llama/Meta-Llama-3-8B@abc", "meta-llama/Meta-Llama-3-8B"),
        ("hf://acme/model@v1", "acme/model"),
        ("smollm2-135m", None),
        ("/home/somebody/llama", None),
        (None, None),
    ],
)
def test_the_base_model_is_named_where_the_hub_knows_it(
    make_job: MakeJob, backbone: str | None, base_model: str | None
) -> None:
    summary = {
        "title": "x/stage3_checkpoint",
        **dict.fromkeys(("steps", "tokens", "sequence_length"), 8),
        "parameters": {"total": 10, "non_embedding": 5},
        "loss": None,
        "heldout_before": {},
        "heldout": {},
    }
    job = make_job()
    card = model_card(summary, job.config, mixture_of(job), backbone)
    head = front_matter(card)
    assert head.get("base_model") == base_model
    assert ("fresh weights" in card) == (backbone is None)
    assert "somebody" not in card


def test_two_runs_of_one_job_have_one_card(make_job: MakeJob, tmp_path: Path) -> None:
    cards = []
    for name in ("first", "second"):
        job = make_job(name=name, title="same")
        train(job)
        cards.append((job.output / "model" / "README.md").read_text())
    assert cards[0] == cards[1]
    assert str(tmp_path) not in cards[0]
