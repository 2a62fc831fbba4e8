"""All benchmarks together: their items, the texts that training data must not hold, and their reference answers."""

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from hephaestus_dag.evaluation.agentbench.items import agentbench_references, agentbench_texts, export_agentbench
from hephaestus_dag.evaluation.agentbench.task import Task
from hephaestus_dag.evaluation.bfcl.items import benchmark_texts, export_bfcl
from hephaestus_dag.evaluation.bfcl.references import bfcl_references
from hephaestus_dag.evaluation.config import EvaluationConfig
from hephaestus_dag.evaluation.general.gsm8k import export_gsm8k, gsm8k_references, gsm8k_texts
from hephaestus_dag.evaluation.general.human_eval import export_human_eval, human_eval_references, human_eval_texts
from hephaestus_dag.evaluation.general.mmlu_items import export_mmlu, mmlu_references, mmlu_texts
from hephaestus_dag.evaluation.kept_out import kept_out_texts
from hephaestus_dag.evaluation.references import Reference


def export_items(config: EvaluationConfig, folder: Path, checker: Path, tasks: Mapping[str, Task]) -> dict[str, dict[str, Any]]:
    """Write the items of every benchmark into a folder and return what each counts.

    ``checker`` is the Python of BFCL's environment, ``tasks`` are AgentBench's. A benchmark whose data the recipe does not name
    has no items. Raises FileNotFoundError or ValueError, with the remedy, when named data cannot be read.
    """
    return {
        "bfcl": export_bfcl(config.bfcl, folder, checker),
        "agentbench": export_agentbench(config.agentbench, folder, tasks),
        "mmlu": export_mmlu(config.mmlu, folder),
        "gsm8k": export_gsm8k(config.gsm8k, folder),
        "humaneval": export_human_eval(config.human_eval, folder),
    }


def item_texts(folder: Path, config: EvaluationConfig) -> Iterator[tuple[str, str]]:
    """Yield (item, text) for every item of a folder of `export_items`, asked or not, and of the benchmarks only kept out."""
    exported = (texts(folder) for texts in (benchmark_texts, agentbench_texts, mmlu_texts, gsm8k_texts, human_eval_texts))
    return chain(*exported, *map(kept_out_texts, config.kept_out))


def item_references(folder: Path, config: EvaluationConfig) -> Iterator[Reference]:
    """Yield the reference answers that the benchmark loss is measured on."""
    loss = config.benchmark_loss
    parts = (bfcl_references, agentbench_references, mmlu_references, gsm8k_references, human_eval_references)
    return chain.from_iterable(part(folder, loss) for part in parts)
