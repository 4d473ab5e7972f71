"""Strict XML: UTF-8, no document type declaration at all, at most 64 levels; and records that are drawn together by links.

``defusedxml`` refuses a DOCTYPE before any entity is declared (FORMATS CH-25).
"""

from typing import Any
from xml.etree.ElementTree import ParseError  # the parser itself is defusedxml's

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import XMLParser

from adapters.mapping.limits import DOCUMENT, MAX_DEPTH, MAX_RECORDS, decode_document
from adapters.mapping.nodes import ElementList, Node
from schemas.errors import Rejected, TooLarge


class _TreeBuilder:
    """Builds members from elements: attributes as ``@name``, children as lists by name, text as ``#text``.

    An element of another namespace than the root's keeps its namespace in its name, so that it is never taken for one of the format's.
    """

    def __init__(self) -> None:
        self.root: dict[str, Any] | None = None
        self.root_tag = ""
        self._stack: list[tuple[dict[str, Any], list[str]]] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Open an element."""
        if len(self._stack) >= MAX_DEPTH:
            raise TooLarge(f"the document is nested more than {MAX_DEPTH} levels deep", field=DOCUMENT)
        members: dict[str, Any] = {f"@{name}": value for name, value in attributes.items()}
        if self._stack:
            self._stack[-1][0].setdefault(self._name(tag), ElementList()).append(members)
        else:
            self.root, self.root_tag = members, tag
        self._stack.append((members, []))

    def _name(self, tag: str) -> str:
        namespace, _, name = tag.rpartition("}")
        return name if namespace == self.root_tag.rpartition("}")[0] else tag

    def data(self, text: str) -> None:
        """Take text."""
        if self._stack:
            self._stack[-1][1].append(text)

    def end(self, _tag: str) -> None:
        """Close an element: text counts where there are no children, or where it is more than white space."""
        members, pieces = self._stack.pop()
        text = "".join(pieces)
        has_children = any(isinstance(value, ElementList) for value in members.values())
        laid_out = "\n" in text and bool(members)  # white space between tags is layout, not an empty value
        if text.strip() or not members or (text and not has_children and not laid_out):
            members["#text"] = text

    def close(self) -> "_TreeBuilder":
        """Return the builder itself, complete."""
        return self


def parse_xml(data: bytes, root: str) -> dict[str, Any]:
    """Return the document's root as nested members.

    Args:
        data: as received.
        root: the root element expected, as ``{namespace}name``.

    Raises:
        Rejected: not UTF-8, a DOCTYPE, not well-formed, cut off, too deep, or another root.
    """
    text = decode_document(data)
    declaration = text[: text.find("?>")].lower() if text.startswith("<?xml") else ""
    if "encoding" in declaration and "utf-8" not in declaration:
        raise Rejected("the declared encoding is not UTF-8", field=DOCUMENT)
    builder = _TreeBuilder()
    parser = XMLParser(target=builder, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    try:
        parser.feed(data)
        parser.close()
    except DefusedXmlException:
        raise Rejected("a document type declaration is not allowed", field=DOCUMENT) from None
    except (ParseError, ValueError, LookupError):
        raise Rejected("the document is not complete, well-formed XML", field=DOCUMENT) from None
    if builder.root is None or builder.root_tag != root:
        raise Rejected("the root element is not the format's", field=DOCUMENT)
    return builder.root


class LinkedExtract:
    """An extract whose meaning lies in its links: things by id, and for each record the things linked to it, in the order of the links."""

    def __init__(
        self, root: dict[str, Any], record: str, id_attribute: str, link: str, ends: tuple[str, str, str]
    ) -> None:
        self._things: dict[str, tuple[str, dict[str, Any]]] = {}
        self._record_name = record
        self._id = id_attribute
        self._link_name = link
        self._from, self._to, self._as = ends
        links: list[dict[str, Any]] = list(root.get(link, ()))
        self._links_to: dict[str, list[dict[str, Any]]] = {}
        for name, elements in root.items():
            if not isinstance(elements, ElementList) or name == link or name.startswith("{"):
                continue
            for element in elements:
                self._add(name, element)
        self._records: list[dict[str, Any]] = list(root.get(record, ()))
        if len(self._records) > MAX_RECORDS:
            raise TooLarge(f"there are more than {MAX_RECORDS} records", field=DOCUMENT)
        for one in links:
            aim = one.get(self._to)
            if aim is None or aim not in self._things:
                raise Rejected("a link leads to something that is not in the file", field=f"{link}{self._to}")
            self._links_to.setdefault(aim, []).append(one)

    def _add(self, name: str, element: dict[str, Any]) -> None:
        identity = element.get(self._id)
        if identity is None:
            raise Rejected("an element without an id", field=f"{name}{self._id}")
        if identity in self._things:
            raise Rejected("two elements with one id", field=f"{name}{self._id}")
        self._things[identity] = (name, element)

    def records(self) -> list[dict[str, Any]]:
        """Return the record elements in document order."""
        return self._records

    def gather(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record with ``~linked``: each linked thing once, with ``~element`` and the roles of its links as ``~as``.

        Raises:
            Rejected: a link comes from something that is not in the file, or says no role.
        """
        linked: dict[str, dict[str, Any]] = {}
        for one in self._links_to.get(record[self._id], ()):
            source, role = one.get(self._from), one.get(self._as)
            if source not in self._things:
                raise Rejected(
                    "a link comes from something that is not in the file", field=f"{self._link_name}{self._from}"
                )
            if not role:
                raise Rejected("a link without a role", field=f"{self._link_name}{self._as}")
            name, element = self._things[source]
            entry = linked.setdefault(source, {**element, "~element": name, "~as": []})
            entry["~as"].append(Node(role, f"{self._link_name}{self._as}"))
        return {**record, "~linked": [Node(entry, str(entry["~element"])) for entry in linked.values()]}
