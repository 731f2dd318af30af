"""Patience with webhooks that do not listen yet.

A pod may be ready a moment before its webhook listens and every node knows where it is. The API server then says
`failed calling webhook`, and trying again is right; a webhook that refuses says `denied the request`.
"""

from __future__ import annotations

import asyncio

import pulumi

#: Seconds to wait before the tries that follow a failure.
PAUSES = (2, 3, 5, 5, 10, 10, 20, 20)


async def again(args: pulumi.ErrorHookArgs) -> bool:
    """Tell the engine whether to repeat an operation; waits before it says yes.

    Args:
        args: what failed; `errors` has all failures of this operation, newest first.
    """
    tries = len(args.errors)
    if tries > len(PAUSES) or "failed calling webhook" not in args.errors[0]:
        return False
    pulumi.log.info(f"{args.name}: a webhook does not answer yet; again in {PAUSES[tries - 1]} s")
    await asyncio.sleep(PAUSES[tries - 1])
    return True


def be_patient() -> None:
    """Give every resource of the program this patience; to be called before the first is declared."""
    hooks = pulumi.ResourceHookBinding(on_error=[pulumi.ErrorHook("webhook-not-yet", again)])

    def bind(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult:
        args.opts.hooks = pulumi.ResourceHookBinding.merge(args.opts.hooks, hooks)
        return pulumi.ResourceTransformationResult(args.props, args.opts)

    pulumi.runtime.register_stack_transformation(bind)
