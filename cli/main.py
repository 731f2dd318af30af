"""Entry point: a lazy click group, so that `tinh --help` imports nothing that it does not print."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Never

import click

from infra.errors import Exit, TinhError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: command -> (module, one-line help). The module is imported only when its command runs;
#: it holds a click command in a variable named `command`.
COMMANDS = {
    "up": ("cli.up", "Deploy all layers of a site in order."),
    "down": ("cli.down", "Destroy all layers of a site in reverse order."),
    "diff": ("cli.diff", "Show what `up` would change; exit 3 when there is something."),
    "status": ("cli.status", "Show layers, locks, published names and what is red on a site."),
    "unlock": ("cli.unlock", "Remove a stranded stack lock after showing whose it is."),
    "net": ("cli.net", "The address plan of the province: plan, check, diff, who; and the map."),
    "reorg": ("cli.reorg", "What a reorganisation of units changes, and what not."),
    "dns": ("cli.dns", "The province's zones: DS records for their parents, roll-over of the key."),
    "ipv6": ("cli.ipv6", "Whether all that is published is the same over IPv4 and IPv6; signed."),
    "backup": ("cli.backup", "Back up, list, verify and clear out what is kept outside the cluster."),
    "restore": ("cli.restore", "Bring a data set back: shows the plan, then asks."),
    "drill": ("cli.drill", "Prove that backups can be restored; writes a signed receipt."),
    "rebuild": ("cli.rebuild", "Bring a site back on empty machines from its off-site backup."),
    "env": ("cli.env", "Print the shell environment for plain `pulumi` and `kubectl`."),
    "toolchain": ("cli.toolchain", "Get or build every tool and image."),
    "lab": ("cli.lab", "The machine-sized data centre in system containers."),
    "sim": ("cli.sim", "The embedded stand-in: control plane processes and simulated nodes."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and short helps, and imports a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None when there is none of that name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(COMMANDS[cmd_name][0]).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete command names without importing them, and the group's own options as click does."""
        from click.shell_completion import CompletionItem

        names = [CompletionItem(n, help=s) for n, (_, s) in COMMANDS.items() if n.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option("0.1.0", prog_name="tinh")
def group() -> None:
    """tinh: a Vietnamese province's data centre as code."""


def main() -> None:
    """Run the command line and map errors to documented exit codes; TINH_DEBUG=1 shows tracebacks."""
    try:
        code = group(prog_name="tinh", standalone_mode=False)
        _end(code if isinstance(code, int) else 0)
    except TinhError as error:
        _debug()
        _end(error.code, f"error: {error}")
    except click.ClickException as error:
        error.show()
        _end(Exit.INPUT)
    except (KeyboardInterrupt, click.Abort):
        _end(Exit.INTERRUPTED, "interrupted")
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - the reader is gone; keep the interpreter quiet
        _end(0)
    except Exception as error:  # the last resort: whatever gets here is a defect
        _debug()
        _end(Exit.DEFECT, f"defect in tinh: {type(error).__name__}: {error}\n  log:   {_record_defect()}")


def _end(code: int, said: str = "") -> Never:
    """End with a code; one more Ctrl-C does not change it any more."""
    signal.signal(signal.SIGINT, lambda *_: None)
    if said:
        click.echo(said, err=True)
    sys.exit(int(code))


def _debug() -> None:
    if os.environ.get("TINH_DEBUG") == "1":
        import traceback

        traceback.print_exc()


def _record_defect() -> Path:
    """Write the traceback of the current exception to a file of its own and return its path."""
    import tempfile
    import traceback

    from infra import paths

    with tempfile.NamedTemporaryFile(
        "w", prefix="defect-", suffix=".log", dir=paths.cache(), delete=False
    ) as file:
        file.write(f"{' '.join(sys.argv[:2])}\n{traceback.format_exc()}")
    return Path(file.name)


if __name__ == "__main__":
    main()
