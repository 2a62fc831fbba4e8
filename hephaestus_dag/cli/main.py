"""The group of subcommands; only the one that is asked for is imported."""

import sys
from importlib import import_module
from io import TextIOWrapper

import click

from hephaestus_dag.artifacts import ArtifactError
from hephaestus_dag.recipe_file import RecipeError

COMMANDS = ("run", "plan", "card", "verify", "rebuild", "prune", "trace", "find", "forget", "scaling", "fields")
"""In the order in which they are needed; each is a module of this package with a click command named `command`."""
STOPPED = 130
"""Exit status after an interrupt, as shells count it."""


class Commands(click.Group):
    """Loads a subcommand when it is used, and says expected errors without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands, in the order of `--help`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a subcommand, or None when there is none of that name."""
        return import_module(f"hephaestus_dag.cli.{cmd_name}").command if cmd_name in COMMANDS else None

    def invoke(self, ctx: click.Context) -> object:
        """Run the subcommand; a wrong recipe or artifact, or a damaged table, ends with its message and status 2."""
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a character shows all others
        try:
            return super().invoke(ctx)
        except (RecipeError, ArtifactError) as error:
            click.echo(f"{error}", err=True)
            raise SystemExit(2) from error
        except KeyboardInterrupt:
            click.echo("\nstopped; nothing half-written stays", err=True)
            raise SystemExit(STOPPED) from None
        # Neither library is imported here, so their errors have no name yet; any other goes on.
        except Exception as error:
            if not _of_tables(error):
                raise
            click.echo(f"a table cannot be read: {error}\n`hephaestus verify` names damaged files and remedies", err=True)
            raise SystemExit(2) from error


def _of_tables(error: Exception) -> bool:
    """Say whether duckdb or pyarrow raised an error; where neither was imported, neither did."""
    kinds = (("duckdb", "Error"), ("pyarrow", "ArrowException"))
    return any(isinstance(error, getattr(sys.modules[module], name)) for module, name in kinds if module in sys.modules)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="hephaestus-dag")
def main() -> None:
    """Make an open language model good at being an agent, and ask afterwards how it came about."""


if __name__ == "__main__":
    main(prog_name="hephaestus")
