"""Which tasks and items of AgentBench are run, and with which limits."""

from typing import Literal

from pydantic import Field, field_validator

from hephaestus_dag.config import Config
from hephaestus_dag.evaluation.agentbench.os_config import OsConfig
from hephaestus_dag.evaluation.agentbench.plug_in_config import AlfWorldConfig, KnowledgeGraphConfig
from hephaestus_dag.evaluation.benchmark_files import CheckoutPath

AGENTBENCH_TASKS: tuple[str, ...] = ("OS", "DB", "KG", "HH", "WS", "WB")
"""The tasks that a recipe may name, in the published order. WS and WB are told as not run, with what they need."""
DATA = (
    "name the `data` folder of AgentBench's public repository "
    "(git clone --branch v0.2 --depth 1 https://github.com/THUDM/AgentBench, then AgentBench/data)"
)
"""What to do about items that are not there."""


class AgentBenchConfig(Config):
    """AgentBench by the text protocol of v0.2; relative paths start at the checkout."""

    data: CheckoutPath | None = Field(
        default=None, description="folder `data` of AgentBench's public repository; null: AgentBench is not run"
    )
    split: Literal["dev", "test"] = Field(default="test", description="which of the published splits is run")
    tasks: tuple[str, ...] = Field(default=("OS", "DB"), description="tasks to run, by their official short names")
    items_per_category: int | None = Field(
        default=None, ge=1, description="items drawn from each category of a task; all when it has fewer, or when null"
    )
    seed: int = Field(default=0, description="seed of the draw; a larger draw with the same seed contains the smaller one")
    max_new_tokens: int = Field(default=512, ge=1, description="longest reply in tokens; the official local client allows 512")
    max_prompt_tokens: int | None = Field(
        default=None, ge=1, description="longest prompt in tokens, longer ones fail; null: only the model's context counts"
    )
    conversations: int = Field(default=64, ge=1, description="conversations open at once, each with an environment of its own")
    threads: int = Field(default=4, ge=1, description="environments that work at the same time")
    item_seconds: float = Field(default=300.0, gt=0, description="most seconds that one item's environment may work in all")
    database: Literal["server", "sqlite"] = Field(
        default="server", description="engine of DB: a MariaDB or MySQL server, or SQLite, whose score is an approximation"
    )
    statement_seconds: float = Field(default=10.0, gt=0, description="most seconds of one SQL statement (DB)")
    os: OsConfig = Field(default=OsConfig(), description="sandboxes of the OS task")
    kg: KnowledgeGraphConfig = Field(default=KnowledgeGraphConfig(), description="server of the KG task")
    hh: AlfWorldConfig = Field(default=AlfWorldConfig(), description="games of the HH task")

    @field_validator("tasks")
    @classmethod
    def _known_and_distinct(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(tasks) - set(AGENTBENCH_TASKS))
        if unknown:
            raise ValueError(f"tasks: {unknown} cannot be asked for; choose from {list(AGENTBENCH_TASKS)}")
        if not tasks or len(set(tasks)) != len(tasks):
            raise ValueError("tasks: name at least one task, and each only once")
        return tasks


class DatabaseServerConfig(Config):
    """The MariaDB or MySQL server of the DB task; with neither host nor socket, one is started where MariaDB is installed."""

    socket: str = Field(default="", description="path of the server's socket; empty: host and port are used")
    host: str = Field(default="", description="the server's machine; empty, with no socket: a private server is started")
    port: int = Field(default=3306, ge=1, le=65535, description="port of the server")
    user: str = Field(default="root", description="account that may create and drop databases and users, and grant rights")
    password_variable: str = Field(
        default="HEPHAESTUS_DATABASE_PASSWORD", description="environment variable with the password; unset: no password"
    )
