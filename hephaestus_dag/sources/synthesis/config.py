"""What a recipe says about trajectories that are made from the schemas of documented operations."""

from pydantic import Field

from hephaestus_dag.config import Config


class SyntheticCallsConfig(Config):
    """How many synthetic calls are made, and from how many operations."""

    count: int = Field(ge=0, description="Trajectories to make; 0: none")
    operations: int = Field(
        default=4_000, ge=100, description="Operations to draw from, at least (whole services are taken, by a seeded draw)"
    )
    longest_tool: int = Field(default=2_500, ge=500, description="Characters of a tool's JSON schema; longer ones lose detail")
    seed: int = Field(default=0, ge=0, description="Seed of services, kinds, tools and values")
