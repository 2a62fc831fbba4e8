"""The tables of the Hephaestus paper (arXiv 2502.06589): their columns, and what is known of their cells.

Captions and columns are known; no result in a cell could be checked against the paper, so none is repeated here. A figure
enters `VERIFIED` only with the table and the row that it was read in.
"""

from typing import NamedTuple

from hephaestus_dag.evaluation.bfcl.formulas import PAPER_COLUMNS as BFCL_COLUMNS

NOT_VERIFIED = (
    "The paper's own numbers are not shown: no cell of its result tables could be verified, and nothing is filled in "
    "from memory."
)
VERIFIED: dict[tuple[str, str, str], float] = {}
"""(table, row, column) -> the paper's number."""


class Column(NamedTuple):
    """A column of a paper's table, and where our number for it is."""

    title: str
    benchmark: str
    groups: tuple[str, ...]
    """Names of our scores, the first that exists is shown; ``*`` at the end stands for any ending."""


NAMES = {
    "agentbench": "AgentBench",
    "bfcl": "BFCL",
    "mmlu": "MMLU",
    "gsm8k": "GSM8K",
    "humaneval": "HumanEval",
    "benchmark_loss": "benchmark loss",
}
"""What the names of a benchmark's scores begin with, by key."""
AGENTBENCH_OVERALL = ("AgentBench overall*", "AgentBench[*")
"""Over all tasks, or over those that are named in the brackets."""
MAIN = (
    Column("AgentBench", "agentbench", AGENTBENCH_OVERALL),
    Column("BFCL-v2", "bfcl", ("BFCL v2*",)),
    Column("BFCL-v3", "bfcl", ("BFCL v3* overall",)),
    Column("MMLU", "mmlu", ("MMLU 5-shot", "MMLU 0-shot")),
)
BFCL = tuple(Column(title, "bfcl", (group,)) for title, group in BFCL_COLUMNS.items())
AGENTBENCH = (
    Column("OA", "agentbench", AGENTBENCH_OVERALL),
    *(Column(task, "agentbench", (f"AgentBench {task}*",)) for task in ("OS", "DB", "HH", "KG", "WB", "WS")),
)
GENERAL = (
    Column("MMLU", "mmlu", ("MMLU 5-shot", "MMLU 0-shot")),
    Column("GSM8K", "gsm8k", ("GSM8K*",)),
    Column("HumanEval", "humaneval", ("HumanEval*",)),
)
RADAR = (*BFCL[1:], *AGENTBENCH[1:], *GENERAL)
