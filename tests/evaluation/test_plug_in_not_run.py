"""AgentBench's environments that cannot run here."""

from pathlib import Path

import pytest

from hephaestus_dag.evaluation.agentbench.config import AGENTBENCH_TASKS, AgentBenchConfig
from hephaestus_dag.evaluation.agentbench.tasks import agentbench_tasks


def test_every_task_has_an_environment_that_says_what_it_lacks(tmp_path: Path) -> None:
    tasks = agentbench_tasks(AgentBenchConfig())
    assert set(tasks) == set(AGENTBENCH_TASKS)
    for name in ("OS", "KG", "HH", "WS", "WB"):
        assert tasks[name].unavailable().startswith("needs ")
        with pytest.raises(FileNotFoundError):
            tasks[name].read_items(tmp_path, "dev")
