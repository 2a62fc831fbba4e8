"""The database server of AgentBench's DB task, as a Dagster resource."""

import os

import dagster as dg
from pydantic import Field

from hephaestus_dag.evaluation.agentbench.server import ServerAddress


class DatabaseServer(dg.ConfigurableResource):
    """A MariaDB or MySQL server that is there already; with neither host nor socket, one is started where MariaDB is installed.

    The account creates and drops databases and users. The server should be one whose load and log nobody minds: it runs what
    models write, though each as a user with rights on nothing but its own database.
    """

    socket: str = Field(default="", description="Path of the server's socket; empty: host and port are used.")
    host: str = Field(default="", description="The server's machine; empty, with no socket: a private server is started.")
    port: int = Field(default=3306, ge=1, le=65535, description="Port of the server.")
    user: str = Field(default="root", description="Account that may create and drop databases and users, and grant rights.")
    password_variable: str = Field(
        default="HEPHAESTUS_DATABASE_PASSWORD", description="Environment variable with the password; unset: no password."
    )

    @property
    def address(self) -> ServerAddress | None:
        """Where the server is; None when a private one is to be started."""
        if not (self.socket or self.host):
            return None
        password = os.environ.get(self.password_variable, "")
        return ServerAddress(socket=self.socket, host=self.host, port=self.port, user=self.user, password=password)
