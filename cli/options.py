"""Options that several commands share."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from infra.errors import RefusedError, TinhError

site_option = click.option(
    "--site", default="lab", show_default=True, envvar="TINH_SITE", help="Site: a folder in stacks/sites/."
)
layer_option = click.option("--layer", "layers", multiple=True, help="Only this layer; may be repeated.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def need_terminal(fix: str) -> None:
    """Refuse to ask where nobody can answer.

    Raises:
        TinhError: standard input is no terminal.
    """
    if not sys.stdin.isatty():
        raise TinhError("nobody can answer: standard input is not a terminal", where="stdin", fix=fix)


def typed(name: str, what: str) -> None:
    """Ask for a name to be typed in full.

    Args:
        name: what must be typed.
        what: whose name it is, for the question.

    Raises:
        TinhError: standard input is no terminal.
        RefusedError: something else was typed.
    """
    need_terminal("give --yes")
    if click.prompt(f"Type the {what} ({name}) to go on", err=True).strip() != name:
        raise RefusedError(f"what was typed is not {name}", where=f"the {what}", fix="nothing was changed")


def public_key(key: str | None) -> str | None:
    """Return a public key of the province that was given, as text or as a document that it has signed."""
    from infra import receipt

    if key is None or not Path(key).is_file():
        return key
    document = receipt.read(Path(key))
    receipt.verify(document, key)
    return document["signature"]["key"]
