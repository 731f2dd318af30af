"""Writing nftables: sets and rules in both families from one intent."""

from __future__ import annotations

from collections.abc import Iterable

from infra.model.net import DualPrefix, without

#: The first line makes the second one valid where there is no table yet; nft does all or nothing.
#: A router's whole ruleset is ours, replaced in one step: what somebody added beside it would weaken it.
HEAD = "#!/usr/sbin/nft -f\n# managed by tinh\nflush ruleset\n"
COMMENT = 120  # bytes; the kernel keeps 128
#: What a rule's text says per family: {ip} is the header, {n} ends a set's name, {icmp} its ICMP.
WORDS = (
    {"ip": "ip", "n": "4", "icmp": "icmp", "ttl": "ip ttl", "family": "ipv4"},
    {"ip": "ip6", "n": "6", "icmp": "icmpv6", "ttl": "ip6 hoplimit", "family": "ipv6"},
)

PLACES = tuple(f"{{{key}}}" for key in WORDS[0])


class PrefixSet:
    """Prefixes in both families, written once however many routers have them.

    Args:
        prefixes: what is in the set.
        parts: what is not, of them.
    """

    def __init__(self, prefixes: Iterable[DualPrefix], parts: Iterable[DualPrefix] = ()) -> None:
        found, taken = sorted(set(prefixes), key=lambda p: p.ipv4), tuple(parts)
        self.text = tuple(
            ", ".join(element for p in found for element in _elements(p, taken, words["family"]))
            for words in WORDS
        )


def _elements(prefix: DualPrefix, parts: Iterable[DualPrefix], family: str) -> list[str]:
    """Return a prefix in one family, or the ranges that parts leave of it."""
    whole, taken = getattr(prefix, family), [getattr(part, family) for part in parts]
    if not any(part.subnet_of(whole) for part in taken):
        return [str(whole)]
    return [str(first) if first == last else f"{first}-{last}" for first, last in without(whole, taken)]


class Table:
    """A table `inet tinh` in the making."""

    def __init__(self) -> None:
        self._sets: dict[str, str] = {}
        self._chains: list[str] = []
        self._rules: list[str] = []

    def prefixes(self, name: str, prefixes: PrefixSet) -> str:
        """Have a set of prefixes in both families; return its name for a rule's text."""
        if f"{name}4" not in self._sets:
            for words, elements in zip(WORDS, prefixes.text, strict=True):
                self._set(f"{name}{words['n']}", f"type {words['family']}_addr; flags interval;", elements)
        return f"@{name}{{n}}"

    def named(self, name: str, kind: str, elements: Iterable[str] = ()) -> None:
        """Have a set of any kind."""
        self._set(name, kind, ", ".join(elements))

    def rule(self, text: str, why: str = "", *, verdict: str = "accept") -> None:
        """Add a rule; with placeholders (WORDS) it becomes one for each family."""
        comment = f' comment "{cut(why)}"' if why else ""
        both = any(place in text for place in PLACES)
        for words in WORDS if both else WORDS[:1]:
            line = text
            if both:
                for place, word in zip(PLACES, words.values(), strict=True):
                    line = line.replace(place, word)
            self._rules.append(f"{line} counter {verdict}{comment}".strip())

    def chain(self, name: str, hook: str = "", policy: str = "", *, kind: str = "filter") -> None:
        """End a chain with the rules added since the last one.

        Args:
            name: of the chain.
            hook: `forward priority filter`, ...; empty: it is jumped to.
            policy: of a base chain.
            kind: of a base chain.
        """
        head = [f"type {kind} hook {hook}; policy {policy};"] if hook else []
        lines = "".join(f"\t\t{line}\n" for line in [*head, *self._rules])
        self._chains.append(f"\tchain {name} {{\n{lines}\t}}\n")
        self._rules = []

    def text(self) -> str:
        """Return the file: loading it replaces this table in one transaction and touches no other."""
        body = "\n".join([*self._sets.values(), *self._chains])
        return f"{HEAD}table inet tinh {{\n{body}}}\n"

    def _set(self, name: str, kind: str, elements: str) -> None:
        inside = f"\t\telements = {{ {elements} }}\n" if elements else ""
        kinds = "".join(f"\t\t{part.strip()}\n" for part in kind.split(";") if part.strip())
        self._sets[name] = f"\tset {name} {{\n{kinds}{inside}\t}}\n"


def cut(text: str) -> str:
    """Return a text that fits a comment."""
    plain = text.replace('"', "'").replace("\n", " ")
    return plain.encode()[:COMMENT].decode("utf-8", "ignore")


def names(items: Iterable[str]) -> str:
    """Return interface names as an anonymous set, or one by itself."""
    quoted = [f'"{item}"' for item in items]
    return quoted[0] if len(quoted) == 1 else f"{{ {', '.join(quoted)} }}"
