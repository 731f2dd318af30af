"""Patience with a Kubernetes API that does not answer for a moment.

Two things pass by themselves. A pod may be ready a moment before its webhook listens and every node knows where it is:
the API server then says `failed calling webhook` (one that refuses says `denied the request`). And when a control
plane is lost or restarts, connections to the API's address break until another one holds it. Objects are applied on
the server side, so that an operation which broke off may be repeated.
"""

from __future__ import annotations

import asyncio

import pulumi

from infra.broken import broke_off

#: Seconds to wait before the tries that follow a failure.
PAUSES = (2, 3, 5, 5, 10, 10, 20, 20)

WEBHOOK = "failed calling webhook"


def _passes(kind: str, error: str) -> str | None:
    """Return what does not answer, where a failure of a resource of this type passes by itself."""
    if WEBHOOK in error:
        return "a webhook"
    if broke_off(kind, error):
        return "the Kubernetes API"
    return None


async def again(args: pulumi.ErrorHookArgs) -> bool:
    """Tell the engine whether to repeat an operation; waits before it says yes.

    Args:
        args: what failed; `errors` has all failures of this operation, newest first.
    """
    tries = len(args.errors)
    silent = _passes(args.type, args.errors[0])
    if tries > len(PAUSES) or not silent:
        return False
    pulumi.log.info(f"{args.name}: {silent} does not answer; again in {PAUSES[tries - 1]} s")
    await asyncio.sleep(PAUSES[tries - 1])
    return True


def be_patient() -> None:
    """Give every resource of the program this patience; to be called before the first is declared."""
    hooks = pulumi.ResourceHookBinding(on_error=[pulumi.ErrorHook("patience", again)])

    def bind(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult:
        args.opts.hooks = pulumi.ResourceHookBinding.merge(args.opts.hooks, hooks)
        return pulumi.ResourceTransformationResult(args.props, args.opts)

    pulumi.runtime.register_stack_transformation(bind)
