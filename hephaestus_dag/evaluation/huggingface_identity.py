"""What decides the answers of a model folder, known without loading the model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from hephaestus_dag.code_version import function_version
from hephaestus_dag.evaluation.few_shot import QUESTIONS, Conversation
from hephaestus_dag.evaluation.prompts import PromptFormat, examples_sha, resolve_format
from hephaestus_dag.models import folder_digest

NumberFormat = Literal["auto", "float32", "bfloat16"]
PromptChoice = PromptFormat | Literal["auto"]
GENERATOR = "hephaestus_dag.evaluation.huggingface"


def number_format(device: str, chosen: NumberFormat = "auto") -> Literal["float32", "bfloat16"]:
    """Return the numbers that a model calculates with on a device."""
    if chosen != "auto":
        return chosen
    return "float32" if device == "cpu" else "bfloat16"


def huggingface_identity(
    model_folder: Path,
    source: Mapping[str, Any] | None = None,
    device: str = "cpu",
    dtype: NumberFormat = "auto",
    prompt_format: PromptChoice = "auto",
    examples: Sequence[Conversation] = QUESTIONS,
) -> dict[str, Any]:
    """Return the identity that a ``HuggingFaceModel`` of the same arguments has.

    ``source`` says what the weights are, such as the fingerprint of the artifact; by default the hash of the folder's files.
    ``code`` is the version of what generates: answers of other code are not taken for this model's.
    Raises ValueError when the prompt format is chat and the tokenizer has no template.
    """
    shown = resolve_format(prompt_format, model_folder)
    identity: dict[str, Any] = {
        "weights": dict(source) if source is not None else {"sha256": folder_digest(model_folder)},
        "prompt_format": shown,
        "dtype": number_format(device, dtype),
        "code": function_version(huggingface_identity, (GENERATOR,)),
    }
    if shown == "few_shot":
        identity["examples"] = examples_sha(examples)
    return identity
