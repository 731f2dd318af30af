"""Errors that a user can cause: what is wrong, where, what to do, and the exit code.

Exit codes (documented in docs/exit-codes.md):
    0 done; 1 defect in tinh; 2 bad input or usage; 3 changes pending (`tinh diff`);
    4 the host lacks something; 5 an outside tool failed; 6 refused to protect data or a foreign object;
    7 checksum or signature mismatch; 8 locked by somebody else; 130 interrupted.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Process exit codes of `tinh`."""

    OK = 0
    DEFECT = 1
    INPUT = 2
    CHANGES = 3
    HOST = 4
    TOOL = 5
    REFUSED = 6
    INTEGRITY = 7
    LOCKED = 8
    INTERRUPTED = 130


class TinhError(Exception):
    """An error with a way out.

    Args:
        what: one sentence, what is wrong, with the offending value.
        where: file and path inside it, machine, stack or URL.
        fix: what the user can do next.
        code: exit code of the process.
    """

    code: Exit = Exit.INPUT

    def __init__(self, what: str, *, where: str = "", fix: str = "", code: Exit | None = None) -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        """Return the message as lines: what, where, fix."""
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  do:    {self.fix}")
        return "\n".join(lines)


class HostError(TinhError):
    """The host lacks something that the command needs."""

    code = Exit.HOST


class ToolError(TinhError):
    """An outside tool (pulumi, ansible, podman, kubectl, go, ...) failed."""

    code = Exit.TOOL


class RefusedError(TinhError):
    """The command would touch protected data or an object that `tinh` did not create."""

    code = Exit.REFUSED


class IntegrityError(TinhError):
    """A checksum or signature differs from the pinned one."""

    code = Exit.INTEGRITY


class LockedError(TinhError):
    """Another process holds the lock."""

    code = Exit.LOCKED
