"""What happens to a router when Pulumi creates, reads, changes or deletes its resource.

State of the resource, besides its inputs: `digests` (SHA-256 of each file), `running` (what the daemons ran right
after the last change) and `drift` (the lines in which that differed when it was last refreshed).
A hand edit of a file shows as a changed input, one made at run time (vtysh, nft) as drift; both are put right by
the next `up`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from pulumi.provider.experimental import provider as sdk
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.runtime.rpc import UNKNOWN

from infra.errors import TinhError
from infra.providers.router import inputs
from infra.providers.router.files import FILES, digest, text_diff
from infra.providers.router.inputs import Inputs, Properties, mapping, parse, path, texts
from infra.providers.router.transport import Observed, Routers, UnreachableError
from infra.stackinfo import parse_stack

PACKAGE = "tinh"
TOKEN = f"{PACKAGE}:network:RouterConfig"
#: Routers that are worked on at the same time; Pulumi asks for `--parallel` at most.
WORKERS = 32


class UnhealthyError(TinhError):
    """A router that could not be read: its record stays as it is, and the next `up` has to deal with it.

    Args:
        what: why.
        read: the record.
    """

    def __init__(self, what: str, read: sdk.ReadResponse) -> None:
        super().__init__(what)
        self.read = read


class RouterProvider(sdk.Provider):
    """The provider.

    Args:
        routers: returns the routers of a site.
    """

    def __init__(self, routers: Callable[[str], Routers]) -> None:
        self._routers = routers
        self._pool = ThreadPoolExecutor(WORKERS)

    async def get_schema(self, request: sdk.GetSchemaRequest) -> sdk.GetSchemaResponse:
        """Return a schema without types: programs use `infra.components.network.router`."""
        return sdk.GetSchemaResponse(f'{{"name":"{PACKAGE}","version":"0.1.0"}}')

    async def check(self, request: sdk.CheckRequest) -> sdk.CheckResponse:
        """Refuse inputs that no router should see."""
        # Pulumi would print the value of a property that it is told, and it does not find one in `files`.
        found = [
            sdk.CheckFailure("", f"{where} {reason}") for where, reason in inputs.problems(request.new_inputs)
        ]
        defaults = {"confirmSeconds": PropertyValue(float(inputs.DEFAULT_SECONDS))}
        return sdk.CheckResponse(defaults | request.new_inputs, found)

    async def diff(self, request: sdk.DiffRequest) -> sdk.DiffResponse:
        """Compare file by file; Pulumi shows the lines. No router is asked."""
        old, new = parse(request.old_state), parse(request.new_inputs)
        found: dict[str, sdk.PropertyDiff] = {}
        if old.host != new.host:
            found["host"] = sdk.PropertyDiff(sdk.PropertyDiffKind.UPDATE_REPLACE, True)
        if old.confirm_seconds != new.confirm_seconds:
            found["confirmSeconds"] = sdk.PropertyDiff(sdk.PropertyDiffKind.UPDATE, True)
        for name in FILES:
            before, after = old.files.get(name), new.files.get(name)
            if before == after and (name in old.secret) == (name in new.secret):
                continue
            kind = sdk.PropertyDiffKind.UPDATE
            if before is None or after is None:
                kind = sdk.PropertyDiffKind.ADD if before is None else sdk.PropertyDiffKind.DELETE
            found[path(name)] = sdk.PropertyDiff(kind, True)
        for name in mapping(request.old_state, "drift")[0]:
            found[path(name, "drift")] = sdk.PropertyDiff(sdk.PropertyDiffKind.DELETE, False)
        return sdk.DiffResponse(changes=bool(found), detailed_diff=found)

    async def create(self, request: sdk.CreateRequest) -> sdk.CreateResponse:
        """Take a router over. Its files as they are now are its day 0, for `delete`."""
        new = parse(request.properties)
        if request.preview:
            return sdk.CreateResponse(new.host, _state(new, None))
        seen = await self._apply(request.urn, new.host, new.files, list(new.files), new.confirm_seconds)
        return sdk.CreateResponse(new.host, _state(new, seen.running))

    async def update(self, request: sdk.UpdateRequest) -> sdk.UpdateResponse:
        """Change what differs on the router, and load again what was changed by hand at run time."""
        old, new = parse(request.olds), parse(request.news)
        if request.preview:
            same = old.files == new.files and not mapping(request.olds, "drift")[0]
            return sdk.UpdateResponse(_state(new, mapping(request.olds, "running")[0] if same else None))
        wanted: dict[str, str | None] = {**dict.fromkeys(old.files), **new.files}
        drifted = [name for name in mapping(request.olds, "drift")[0] if name in new.files]
        seen = await self._apply(request.urn, request.resource_id, wanted, drifted, new.confirm_seconds)
        return sdk.UpdateResponse(_state(new, seen.running))

    async def read(self, request: sdk.ReadRequest) -> sdk.ReadResponse:
        """Read a router; without a record (import) whatever known files it has.

        Raises:
            UnhealthyError: the router does not answer. Its record stays: it is not gone, and others go on.
        """
        host, old = request.resource_id, parse(request.inputs)
        known = bool(old.files)
        routers = self._routers(_site(request.urn))
        try:
            seen = await self._aside(routers.read, host, list(old.files if known else FILES))
        except UnreachableError as error:
            if not known:
                raise
            raise UnhealthyError(
                str(error), sdk.ReadResponse(host, request.properties, request.inputs)
            ) from None
        files = {name: text for name, text in seen.files.items() if text is not None}
        now = Inputs(host=host, files=files, confirm_seconds=old.confirm_seconds, secret=old.secret)
        baseline = mapping(request.properties, "running")[0] or None
        state = _state(now, seen.running if baseline is None else baseline, seen.running)
        return sdk.ReadResponse(host, state, now.properties())

    async def delete(self, request: sdk.DeleteRequest) -> None:
        """Give all files back as they were on day 0, as carefully as any other change."""
        old = parse(request.properties)
        nothing: dict[str, str | None] = dict.fromkeys(old.files)
        await self._apply(request.urn, request.resource_id, nothing, [], old.confirm_seconds)

    async def _apply(
        self, urn: str, host: str, wanted: Mapping[str, str | None], force: Collection[str], seconds: int
    ) -> Observed:
        routers = self._routers(_site(urn))
        return await self._aside(lambda: routers.apply(host, wanted, force=force, seconds=seconds))

    async def _aside(self, call: Callable[..., Observed], *arguments: object) -> Observed:
        """Call in a thread: a slow router delays no other."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)


def _site(urn: str) -> str:
    """Return the site that a resource belongs to: its stack is `network.<site>`."""
    return parse_stack(urn.removeprefix("urn:pulumi:").split("::")[0]).site


def _state(
    new: Inputs, running: Mapping[str, str] | None, seen: Mapping[str, str] | None = None
) -> Properties:
    """Return the outputs.

    Args:
        new: the inputs, or what was read in their place.
        running: what the daemons ran after the last change; None in a preview, where nobody knows.
        seen: what they run now, for drift; None right after a change.
    """
    digests = {name: UNKNOWN if text == UNKNOWN else digest(text) for name, text in new.files.items()}
    base = {name: FILES[name].normal(text) for name, text in (running or {}).items()}
    changes = {
        name: text_diff(base.get(name, ""), FILES[name].normal(text)) for name, text in (seen or {}).items()
    }
    # A running configuration tells what is in the file.
    return {
        **new.properties(),
        "digests": texts(digests),
        "running": PropertyValue(UNKNOWN) if running is None else texts(base, new.secret),
        "drift": PropertyValue(
            {
                name: PropertyValue([PropertyValue(line) for line in lines], name in new.secret)
                for name, lines in changes.items()
                if lines
            }
        ),
    }
