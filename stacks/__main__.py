"""The Pulumi program of every stack: parse the stack's name, load the site, deploy the layer."""

import sys
from pathlib import Path

# The language host puts this folder first, where `platforms` would mean `stacks/platforms.py`.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import pulumi  # noqa: E402

from infra.errors import TinhError  # noqa: E402
from infra.model.site import load_site  # noqa: E402
from infra.patience import be_patient  # noqa: E402
from infra.speed import tune  # noqa: E402
from infra.stackinfo import parse_stack  # noqa: E402
from stacks.layers import deploy  # noqa: E402

tune()
be_patient()
try:
    stack = parse_stack(pulumi.get_stack())
    deploy(stack, load_site(stack.site))
except TinhError as error:
    # Pulumi prints a RunError as its text, without a traceback.
    raise pulumi.RunError(str(error)) from None
