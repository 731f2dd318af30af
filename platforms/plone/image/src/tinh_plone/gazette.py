"""The page of one issue of the gazette: its documents as a table."""

from __future__ import annotations

from datetime import date
from typing import Any

from plone import api
from plone.dexterity.utils import iterSchemataForType
from Products.Five.browser import BrowserView


class IssueView(BrowserView):
    """Rows for `templates/issue.pt`."""

    def documents(self) -> list[Any]:
        """Return the documents that the reader may see, by number."""
        found = api.content.find(context=self.context, depth=1, portal_type="legal_document")
        return sorted((brain.getObject() for brain in found), key=lambda document: document.number or "")

    def kind(self, document: Any) -> str:  # noqa: ANN401 - content of Plone
        """Return the title of a document's kind."""
        (schema, *_) = iterSchemataForType("legal_document")
        return schema["kind"].vocabulary.getTerm(document.kind).title

    def day(self, value: date | None) -> str:
        """Return a day as it is written in Việt Nam, day first."""
        return value.strftime("%d/%m/%Y") if value else ""
