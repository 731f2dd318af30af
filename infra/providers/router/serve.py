"""The plugin `pulumi-resource-tinh`: the provider behind gRPC.

The SDK's own server is used but for two things that it cannot say: an error in words for people, without a
traceback, and a router that could not be read although it is there.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

# Read when gRPC is imported. Ansible is started while gRPC works: its handlers would start threads in the new process,
# whose files are closed, and end it there.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

import grpc
import grpc.aio
from google.protobuf.message import Message
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.server import ProviderServicer
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc, status_pb2

from infra.errors import TinhError
from infra.providers.router.provider import RouterProvider, UnhealthyError
from infra.providers.router.transport import of_site

VERSION = "0.1.0"
_Verb = Callable[[Any, Any], Awaitable[Any]]


class Servicer(ProviderServicer):
    """The SDK's servicer with readable errors."""

    async def Create(self, request: Any, context: Any) -> Any:  # noqa: ANN401 - gRPC's own
        """Create."""
        return await _readable(super().Create, request, context)

    async def Read(self, request: Any, context: Any) -> Any:  # noqa: ANN401
        """Read."""
        return await _readable(super().Read, request, context)

    async def Update(self, request: Any, context: Any) -> Any:  # noqa: ANN401
        """Update."""
        return await _readable(super().Update, request, context)

    async def Delete(self, request: Any, context: Any) -> Any:  # noqa: ANN401
        """Delete."""
        return await _readable(super().Delete, request, context)


async def _readable(verb: _Verb, request: Any, context: Any) -> Any:  # noqa: ANN401
    """Call a verb; a TinhError becomes a gRPC status."""
    try:
        return await verb(request, context)
    except UnhealthyError as error:
        record = error.read
        detail = provider_pb2.ErrorResourceInitFailed(
            id=record.resource_id or "",
            properties=PropertyValue.marshal_map(record.properties),
            inputs=PropertyValue.marshal_map(record.inputs),
            reasons=[str(error)],
        )
        await _abort(context, grpc.StatusCode.UNKNOWN, str(error), detail)
    except TinhError as error:
        # This code says that the router is what its record says: a change is done, or undone.
        await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))


async def _abort(context: Any, code: grpc.StatusCode, message: str, *details: Message) -> None:  # noqa: ANN401
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    await context.abort(code, message, (("grpc-status-details-bin", status.SerializeToString()),))


async def serve(provider: RouterProvider) -> None:
    """Serve until the engine ends this process; the port is said on standard output."""
    server = grpc.aio.server(options=_GRPC_CHANNEL_OPTIONS)
    servicer = Servicer(sys.argv[1:], VERSION, provider, engine_address=sys.argv[1])
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


def main(provider: RouterProvider | None = None) -> None:
    """Run the plugin; Pulumi gives the engine's address as the first argument."""
    if len(sys.argv) < 2:
        sys.exit("pulumi-resource-tinh is run by Pulumi")
    try:
        # One object per site: it is what lets calls that come together share a run.
        asyncio.run(serve(provider or RouterProvider(functools.cache(of_site))))
    except KeyboardInterrupt:
        sys.exit(130)
