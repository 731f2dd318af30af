"""Entry point: a lazy click group, so that `tinh --help` imports nothing that it does not print."""

from __future__ import annotations

import importlib
import os
import sys

import click

from infra.errors import Exit, TinhError

#: command -> (module, one-line help). The module is imported only when its command runs;
#: it holds a click command in a variable named `command`.
COMMANDS = {
    "up": ("cli.up", "Deploy all layers of a site in order."),
    "down": ("cli.down", "Destroy all layers of a site in reverse order."),
    "diff": ("cli.diff", "Show what `up` would change; exit 3 when there is something."),
    "status": ("cli.status", "Show layers, locks and published names of a site."),
    "unlock": ("cli.unlock", "Remove a stranded stack lock after showing whose it is."),
    "env": ("cli.env", "Print the shell environment for plain `pulumi` and `kubectl`."),
    "toolchain": ("cli.toolchain", "Get or build every tool and image."),
    "lab": ("cli.lab", "The machine-sized data centre in system containers."),
    "sim": ("cli.sim", "The embedded stand-in: control plane processes and simulated nodes."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; for the group's own help only a stand-in with the short help."""
        if cmd_name not in COMMANDS:
            return None
        module, short_help = COMMANDS[cmd_name]
        if ctx.resilient_parsing or not ctx.protected_args and ctx.invoked_subcommand is None and _is_help(ctx):
            return click.Command(cmd_name, short_help=short_help)
        return importlib.import_module(module).command


def _is_help(ctx: click.Context) -> bool:
    """Tell whether the group itself is printing its help."""
    return not any(arg in COMMANDS for arg in sys.argv[1:2]) and ctx.parent is None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option("0.1.0", prog_name="tinh")
def group() -> None:
    """tinh: a Vietnamese province's data centre as code."""


def main() -> None:
    """Run the command line and map errors to documented exit codes."""
    try:
        code = group(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except TinhError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(int(error.code))
    except click.ClickException as error:
        error.show()
        sys.exit(int(Exit.INPUT))
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(int(Exit.INTERRUPTED))
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - the reader is gone; keep the interpreter quiet
        sys.exit(0)


if __name__ == "__main__":
    main()
