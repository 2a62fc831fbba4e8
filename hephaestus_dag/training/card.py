"""The model card: the README.md of an exported model folder, from what a job measured.

Nothing that a clock, a machine or a recipe's words said is in it: the same job gives the same bytes.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hephaestus_dag.models import HUB_NAME, PACKAGED
from hephaestus_dag.training.config import TrainingConfig

STAGES = {
    "stage1": "Stage I: continual pre-training on a mixture of agent data, code and text",
    "stage2": "Stage II: continual pre-training on the high-quality seed corpus",
    "stage3": "Stage III: instruction tuning",
    "backbone": "a backbone, pre-trained on code and text",
    "proxy_runs": "a proxy model of the scaling law",
}
SETTINGS = (
    *("learning_rate", "schedule", "warmup_share", "warmup_steps", "decay_share", "min_lr_share", "weight_decay", "betas"),
    *("clip", "z_loss", "document_masking", "dtype", "seed"),
)


def model_card(summary: Mapping[str, Any], config: TrainingConfig, mixture: Mapping[str, Any], backbone: str | None) -> str:
    """Return the README.md of a trained model.

    ``summary`` is the job's summary.json, ``mixture`` the mixture.json that it was trained on, ``backbone`` the recipe's name
    of the published model that all began with, None when it began with fresh weights.
    """
    parts = (
        _front_matter(backbone),
        f"# {summary['title']}",
        _what_it_is(summary, backbone),
        _how_to_load(),
        "## Training data",
        _data(summary, mixture),
        "## Training",
        _training(summary, config),
        "## Held-out loss",
        _heldout(summary),
    )
    return "\n\n".join(parts) + "\n"


def _front_matter(backbone: str | None) -> str:
    match = _on_hub(backbone)
    head = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "language": ["en"],
        **({"base_model": match["repository"]} if match else {}),
        "tags": ["agent", "function-calling", "continual-pretraining"],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---"


def _on_hub(name: str | None) -> re.Match[str] | None:
    """Return the parts of a hub name; in a recipe it has a revision, otherwise it is a folder."""
    match = HUB_NAME.fullmatch(name or "")
    return match if match and match["revision"] else None


def _what_it_is(summary: Mapping[str, Any], backbone: str | None) -> str:
    stage = next((words for name, words in STAGES.items() if name in summary["title"]), "a language model")
    if backbone and backbone not in PACKAGED and not _on_hub(backbone):
        backbone = Path(backbone).name  # where a folder lies is this machine's matter
    began = f"The backbone began {f'as `{backbone}`' if backbone else 'with fresh weights'}."
    count = summary["parameters"]
    return (
        f"{stage[0].upper()}{stage[1:]}. {began}\n"
        f"{count['total']:,} parameters, {count['non_embedding']:,} of them outside of embedding and output head."
    )


def _how_to_load() -> str:
    return """```python
from transformers import pipeline

generate = pipeline("text-generation", model="path/to/this/folder")
print(generate("To list the files of a bucket, call", max_new_tokens=40)[0]["generated_text"])
```"""


def _data(summary: Mapping[str, Any], mixture: Mapping[str, Any]) -> str:
    components = mixture["components"]
    shown = summary.get("mix") or {name: component["tokens"] for name, component in components.items()}
    rows = [
        (name, f"{tokens:,}", f"{tokens / sum(shown.values()):.1%}", _epochs(tokens, components.get(name, {})))
        for name, tokens in shown.items()
    ]
    parts = [_table(("component", "tokens", "share", "epochs"), rows)]
    if sources := mixture.get("sources"):
        planned = sum(component["tokens"] for component in components.values())
        parts += [
            f"By source, in the mixture of {planned:,} tokens that these were taken from:",
            _table(
                ("source", "domain", "tokens", "epochs"),
                [(s["source"], s["domain"], f"{s['tokens']:,}", f"{s['epochs']:.2f}") for s in sources],
            ),
        ]
    return "\n\n".join(parts)


def _epochs(tokens: int, component: Mapping[str, Any]) -> str:
    unique = component.get("unique_tokens")
    return f"{tokens / unique:.2f}" if unique else ""


def _training(summary: Mapping[str, Any], config: TrainingConfig) -> str:
    batch, length = config.global_batch_sequences, summary["sequence_length"]
    skipped, rewinds = summary.get("skipped_steps", 0), summary.get("rewinds", 0)
    lines = [
        f"{summary['steps']:,} steps of {batch:,} sequences of {length:,} tokens: {summary['tokens']:,} tokens",
        f"final training loss: {_loss(summary['loss'])} nats per token, the mean of the last twentieth of the steps",
        f"steps skipped by the guard: {skipped:,}; rewinds to a checkpoint: {rewinds:,}",
    ]
    settings = config.model_dump(mode="json")
    rows = [("optimiser", "AdamW"), *((name, _words(settings[name])) for name in SETTINGS if settings[name] is not None)]
    return "\n".join(f"- {line}" for line in lines) + "\n\n" + _table(("setting", "value"), rows)


def _words(value: Any) -> str:
    return (
        ", ".join(map(str, value)) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _loss(loss: float | None) -> str:
    return "none" if loss is None else f"{loss:.4f}"


def _heldout(summary: Mapping[str, Any]) -> str:
    before, after = summary["heldout_before"], summary["heldout"]
    rows = [
        (domain, *(f"{scores[domain][unit]:.4f}" for unit in ("bits_per_byte", "loss") for scores in (before, after)))
        for domain in sorted(after)
    ]
    head = ("domain", "bits per byte before", "after", "nats per token before", "after")
    return _table(head, rows) if rows else "Not measured: there were no held-out documents."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
