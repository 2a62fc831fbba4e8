"""Where AgentBench's environments lie that need more than this project brings."""

from pydantic import Field

from hephaestus_dag.config import Config
from hephaestus_dag.evaluation.benchmark_files import CheckoutPath


class KnowledgeGraphConfig(Config):
    """KG: Freebase in a SPARQL server."""

    url: str | None = Field(default=None, description="address of a SPARQL server that holds Freebase; null: KG is not run")
    version: str = Field(
        default="", description="what the server's data are, such as the date of the dump; KG is run anew when this changes"
    )
    ontology: CheckoutPath | None = Field(
        default=None,
        description="folder src/server/tasks/knowledgegraph/ontology of AgentBench's public repository at tag v0.2",
    )
    query_seconds: float = Field(default=120.0, gt=0, description="most seconds of one query; the item fails then")


class AlfWorldConfig(Config):
    """HH: ALFWorld in an environment of its own."""

    python: CheckoutPath | None = Field(
        default=None, description="interpreter that has the package alfworld; null: HH is not run"
    )
    games: CheckoutPath | None = Field(default=None, description="folder that alfworld-download filled, with json_2.1.1 in it")
    prompts: CheckoutPath | None = Field(
        default=None, description="folder src/server/tasks/alfworld/prompts of AgentBench's public repository at tag v0.2"
    )
    step_seconds: float = Field(default=60.0, gt=0, description="most seconds of one step of a game; the item fails then")
