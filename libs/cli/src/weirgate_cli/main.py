"""The ``weirgate`` command.

Packages above and beside this one add commands by the entry point group ``weirgate.commands``: a function
that takes the root application. So the command imports no service, and from a machine that has only this
package a console can be spoken to.
"""

from importlib.metadata import entry_points

import typer

from weirgate_cli import approvals, config, policy, resources, sessions, token, tools
from weirgate_cli.say import tell

COMMANDS = "weirgate.commands"


def make_app() -> typer.Typer:
    """Build the application, with the commands of every installed package."""
    app = typer.Typer(
        name="weirgate",
        help="Weirgate, the gateway AI agents go through to reach production: every operation is judged, "
        "masked, held for a person where a rule says so, and recorded, before it has an effect.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for found in sorted(entry_points(group=COMMANDS), key=lambda one: one.name):
        try:
            found.load()(app)
        except ImportError as error:
            # One broken package must not take the other commands away; what it would have added is missing.
            tell(f"weirgate: the commands of {found.value} cannot be loaded: {error}")
    for own in (config, resources, token, approvals, policy, sessions, tools):
        own.register(app)
    return app


def main() -> None:
    """Run the command."""
    make_app()()
