"""The environments of AgentBench that can run here."""

from hephaestus_dag.evaluation.agentbench.alfworld import AlfWorldTask
from hephaestus_dag.evaluation.agentbench.config import AgentBenchConfig
from hephaestus_dag.evaluation.agentbench.database import DatabaseTask
from hephaestus_dag.evaluation.agentbench.knowledge_graph import KnowledgeGraphTask
from hephaestus_dag.evaluation.agentbench.mariadb import ServerEngine
from hephaestus_dag.evaluation.agentbench.not_run import TaskNotRun
from hephaestus_dag.evaluation.agentbench.os_interaction import OsTask
from hephaestus_dag.evaluation.agentbench.server import ServerAddress
from hephaestus_dag.evaluation.agentbench.sqlite import SQLiteEngine
from hephaestus_dag.evaluation.agentbench.task import Task


def database_task(config: AgentBenchConfig, server: ServerAddress | None = None) -> DatabaseTask:
    """Return DB on the configured engine; without ``server``, a private one runs while the task is entered."""
    if config.database == "sqlite":
        return DatabaseTask(SQLiteEngine(config.statement_seconds))
    return DatabaseTask(ServerEngine(config.statement_seconds, server))


def agentbench_tasks(config: AgentBenchConfig, server: ServerAddress | None = None) -> dict[str, Task]:
    """Return every environment by its short name."""
    tasks: list[Task] = [
        OsTask(config.os),
        database_task(config, server),
        KnowledgeGraphTask(config.kg),
        AlfWorldTask(config.hh),
        TaskNotRun("WS"),
        TaskNotRun("WB"),
    ]
    return {task.name: task for task in tasks}
