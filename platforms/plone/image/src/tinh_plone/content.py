"""Seed content: made once, renewed where nobody has edited it, never taken away."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any

from persistent.mapping import PersistentMapping
from plone import api
from plone.app.textfield import RichText
from plone.app.textfield.value import RichTextValue
from plone.base.interfaces import INavigationRoot
from plone.dexterity.utils import iterSchemata
from zope.annotation.interfaces import IAnnotations
from zope.interface import alsoProvides
from zope.lifecycleevent import modified
from zope.schema.interfaces import IDate

#: On the site: key of an item -> its UID and the values that were put there.
_RECORD = "tinh.seed"


class Content:
    """The content of one site, and what was seeded of it before.

    Args:
        portal: the site.
    """

    def __init__(self, portal: Any) -> None:  # noqa: ANN401 - Plone's site
        self.portal = portal
        notes = IAnnotations(portal)
        if _RECORD not in notes:
            notes[_RECORD] = PersistentMapping()
        self.record = notes[_RECORD]
        self.counts: Counter[str] = Counter(made=0, renewed=0, kept=0, retired=0)

    def bring(self, items: list[dict[str, Any]]) -> None:
        """Make and renew items in order (containers first), and retire those that are declared no more."""
        for item in items:
            if item["key"] in self.record:
                self._renew(item["key"], item["values"])
            else:
                self._make(item)
        for key in sorted(set(self.record) - {item["key"] for item in items}):
            # A unit that is no more keeps its pages: they are the province's record. Menus do not lead there.
            before = self.record[key]["values"]
            if not before.get("exclude_from_nav"):
                self._renew(key, before | {"exclude_from_nav": True}, "retired")

    def report(self) -> dict[str, int]:
        """Return how many items were made, renewed, retired, and left as people have edited them."""
        return dict(self.counts)

    def _make(self, item: dict[str, Any]) -> None:
        parent = self.portal.unrestrictedTraverse(item["parent"]) if item["parent"] else self.portal
        if item["id"] in parent:
            made = parent[item["id"]]  # somebody was faster: theirs
        else:
            made = api.content.create(parent, item["type"], id=item["id"], title=item["values"]["title"])
            if item["site"]:
                alsoProvides(made, INavigationRoot)
            for name, value in item["values"].items():
                _write(made, name, value)
            modified(made)
            made.reindexObject()
            if api.content.get_state(made, default=None) not in (None, "published"):
                api.content.transition(made, to_state="published")
            if item["front"]:
                parent.setDefaultPage(item["id"])
            self.counts["made"] += 1
        self.record[item["key"]] = {"uid": api.content.get_uuid(made), "values": item["values"]}

    def _renew(self, key: str, values: dict[str, Any], count: str = "renewed") -> None:
        seeded = self.record[key]["values"]
        fresh = {name: value for name, value in values.items() if seeded.get(name) != value}
        obj = api.content.get(UID=self.record[key]["uid"])
        if not fresh or obj is None:
            return
        mine = {name for name in fresh if _read(obj, name) == seeded.get(name, _read(obj, name))}
        for name in mine:
            _write(obj, name, fresh[name])
        if mine:
            modified(obj)
            obj.reindexObject()
            self.counts[count] += 1
        if mine != set(fresh):
            self.counts["kept"] += 1
        self.record[key] = self.record[key] | {"values": values}


def _field(obj: Any, name: str) -> Any:  # noqa: ANN401 - a field of zope.schema, bound to its adapter
    for schema in iterSchemata(obj):
        if name in schema:
            return schema[name], schema(obj)
    raise KeyError(f"{obj.portal_type} has no field {name!r}")


def _read(obj: Any, name: str) -> Any:  # noqa: ANN401
    """Return a field's value as JSON has it."""
    field, adapter = _field(obj, name)
    value = getattr(adapter, name, field.default)
    if isinstance(value, RichTextValue):
        return value.raw
    return value.isoformat() if isinstance(value, date) else value


def _write(obj: Any, name: str, value: Any) -> None:  # noqa: ANN401
    """Set a field from what JSON has."""
    field, adapter = _field(obj, name)
    if isinstance(field, RichText):
        value = RichTextValue(value, "text/html", "text/x-html-safe")
    elif IDate.providedBy(field):
        value = date.fromisoformat(value)
    setattr(adapter, name, value)
