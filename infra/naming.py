"""Names of everything that tinh makes: one function, at most 63 characters (RFC 1123 labels)."""

from __future__ import annotations

import hashlib
import re

from infra.errors import TinhError

#: Longest DNS label, and with it the longest name of a Service, namespace or label value (RFC 1123).
LONGEST = 63
_DIGEST = 8
_PART = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def name(*parts: str) -> str:
    """Join parts with dashes into a name; the same parts always give the same name.

    A name that would be too long keeps its beginning and ends in a digest of the whole, so that two long
    names that differ anywhere stay different. Dashes inside parts are not escaped: `("a-b", "c")` and
    `("a", "b-c")` are one name, as a reader expects.

    Raises:
        TinhError: when there is no part, or one is not lower-case letters, digits and inner dashes.
    """
    for part in parts or ("",):
        if not _PART.fullmatch(part):
            raise TinhError(
                f"{part!r} cannot be part of a name",
                where=f"name of {' '.join(parts)}",
                fix="use lower-case letters, digits and inner dashes",
            )
    joined = "-".join(parts)
    if len(joined) <= LONGEST:
        return joined
    digest = hashlib.sha256(joined.encode()).hexdigest()[:_DIGEST]
    return f"{joined[: LONGEST - _DIGEST - 1].rstrip('-')}-{digest}"
