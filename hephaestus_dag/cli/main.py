"""The group of subcommands; only the one that is asked for is imported."""

from importlib import import_module

import click

from hephaestus_dag.artifacts import ArtifactError
from hephaestus_dag.recipe_file import RecipeError

COMMANDS = ("run", "plan", "card", "verify", "rebuild", "prune", "trace", "find", "forget", "scaling", "fields")
"""In the order in which they are needed; each is a module of this package with a click command named `command`."""


class Commands(click.Group):
    """Loads a subcommand when it is used, and says expected errors without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands, in the order of `--help`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a subcommand, or None when there is none of that name."""
        return import_module(f"hephaestus_dag.cli.{cmd_name}").command if cmd_name in COMMANDS else None

    def invoke(self, ctx: click.Context) -> object:
        """Run the subcommand; a wrong recipe or artifact ends with its message and status 2."""
        try:
            return super().invoke(ctx)
        except (RecipeError, ArtifactError) as error:
            click.echo(f"{error}", err=True)
            raise SystemExit(2) from error


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="hephaestus-dag")
def main() -> None:
    """Make an open language model good at being an agent, and ask afterwards how it came about."""


if __name__ == "__main__":
    main(prog_name="hephaestus")
