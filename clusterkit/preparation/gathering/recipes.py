"""Recipes: which pages list pictures, and where on a page these and their facts are.

A recipe is data, a small TOML file, and runs no code.
"""

from __future__ import annotations

import codecs
import itertools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from clusterkit.datasets.label_tables import LABEL_SEPARATOR, is_label_name, is_path_or_part_name
from clusterkit.errors import InvalidInputError, NotFoundError
from clusterkit.preparation.gathering.addresses import Wanted, parse_address
from clusterkit.preparation.gathering.politeness import find_objection
from clusterkit.utils.text import did_you_mean

MAX_PAGES = 1000
# Names of columns that the table of labels has already.
_OWN_NAMES = frozenset({"path", "label", "address"})
_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
# The slash of a closing tag; the name of an element that is never closed.
_TAG = re.compile(
    rb"<(/?)(?:(area|base|br|col|embed|hr|img|input|link|meta|source|track|wbr)\b|[a-z])", re.I
)
_MAX_DEPTH = 10_000
_CHARSET = re.compile(
    rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.IGNORECASE
)
_CHARSET_OF_TYPE = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9_.:-]+)""", re.IGNORECASE)


@dataclass(frozen=True)
class Selector:
    """The place of a value on a page, or within an item.

    Attributes
    ----------
    select : str
        A CSS selector.
    attribute : tuple of str
        The value is that of the first existing one of these attributes; the text if empty.
    several : bool
        Whether all matching elements count, rather than the first.
    separator : str, optional
        Separator of several values in one text.
    of_page : bool
        Whether it is searched on the whole page, such as a heading, rather than in the item.
    """

    select: str
    attribute: tuple[str, ...] = ()
    several: bool = False
    separator: str | None = None
    of_page: bool = False

    @property
    def is_list(self) -> bool:
        """Whether there may be several values."""
        return self.several or self.separator is not None

    def values(self, node: LexborNode) -> list[str]:
        """Return the values below an element, without those that are empty."""
        found = [self._value(one) for one in node.css(self.select)]
        found = [value for value in found if value]
        found = found if self.several else found[:1]
        if self.separator is not None:
            found = [part.strip() for value in found for part in value.split(self.separator)]
        return list(dict.fromkeys(filter(None, found)))

    def _value(self, node: LexborNode) -> str:
        """Return the text of an element as one line, or its attribute."""
        if not self.attribute:
            return " ".join(node.text().split())
        held = node.attributes
        return next((value.strip() for name in self.attribute if (value := held.get(name))), "")


@dataclass(frozen=True)
class Recipe:
    """A recipe.

    Attributes
    ----------
    file : pathlib.Path
        Its file.
    pages : list of str
        Addresses of the pages.
    item : str
        CSS selector of the items on a page, such as the rows of a list of titles.
    picture : Selector
        The address of an item's picture.
    label : str, optional
        The field that holds the labels.
    fields : dict of str to Selector
        Facts of an item.
    next : Selector, optional
        The address of the next page.
    max_pages : int
        Maximum number of pages.
    """

    file: Path
    pages: list[str]
    item: str
    picture: Selector
    label: str | None = None
    fields: dict[str, Selector] = field(default_factory=dict)
    next: Selector | None = None
    max_pages: int = MAX_PAGES


@dataclass(frozen=True)
class Page:
    """What a recipe finds on a page.

    Attributes
    ----------
    address : str
        The page.
    title : str
        Its title.
    items : list of Wanted
        Items with a picture.
    n_items : int
        Number of all items.
    unusable : list of str
        Invalid addresses of pictures, such as data URLs.
    found : dict of str to int
        Number of items in which each field, and the picture, was found.
    next : str, optional
        The next page.
    """

    address: str
    title: str
    items: list[Wanted]
    n_items: int
    unusable: list[str]
    found: dict[str, int]
    next: str | None = None


def read_recipe(file: Path) -> Recipe:
    """Read a recipe, and check all of it.

    Parameters
    ----------
    file : pathlib.Path
        A TOML file with the keys

        - ``pages``: the address of a page, or a list of them; ``{1..5}`` in one stands for five;
        - ``next``: the link to the next page, if there is one, and ``max_pages``;
        - ``item``: the CSS selector of what is repeated on a page;
        - ``picture``: where in an item its picture is, in the attribute ``src``;
        - ``[fields]``: where its facts are, by names of your choice;
        - ``label``: the field that holds its labels.

        A place is a CSS selector, whose first element's text counts, or a table: ``select``, the
        ``attribute`` to take instead (of several the first that is there), ``several`` for all
        elements, ``separator`` between several values in one text, and ``of_page`` for a value that
        appears once for all items of a page.

    Raises
    ------
    NotFoundError
        If the file does not exist.
    InvalidInputError
        If it is not TOML, has an unknown key or one of the wrong type, or a selector is invalid.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise NotFoundError(f"no such file: {file}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidInputError(f"cannot read {file}: {error}") from error
    reader = _Reader(file)
    known = ("pages", "item", "picture", "label", "fields", "next", "max_pages")
    reader.check_keys(document, known, required=("pages", "item", "picture"), place="")
    pages = reader.texts(document["pages"], "pages")
    fields = document.get("fields", {})
    if not isinstance(fields, dict):
        raise reader.error("fields", "a table", fields)
    recipe = Recipe(
        file,
        list(itertools.chain.from_iterable(reader.expand(page) for page in pages)),
        reader.selector(document["item"], "item").select,
        reader.selector(document["picture"], "picture", attribute=("src",)),
        document.get("label"),
        {name: reader.selector(value, f"fields.{name}") for name, value in fields.items()},
        reader.selector(document["next"], "next", attribute=("href",))
        if "next" in document
        else None,
        document.get("max_pages", MAX_PAGES),
    )
    if type(recipe.max_pages) is not int or not 1 <= recipe.max_pages <= MAX_PAGES:
        raise reader.error("max_pages", f"a whole number from 1 to {MAX_PAGES}", recipe.max_pages)
    if recipe.label is not None and recipe.label not in list(recipe.fields):
        names = ", ".join(recipe.fields) or "there are none"
        raise reader.error("label", f"one of the fields ({names})", recipe.label)
    for name in recipe.fields:
        if name.casefold() in _OWN_NAMES or is_path_or_part_name(name) or not name.strip():
            raise InvalidInputError(
                f"{file}: the field {name!r} would be taken for the files, the labels or the parts "
                "of the table of labels: give it another name"
            )
        if name != recipe.label and is_label_name(name):
            raise InvalidInputError(
                f"{file}: the field {name!r} would be taken for the labels: write "
                f'label = "{name}", or give it another name'
            )
    return recipe


def extract(recipe: Recipe, content: bytes, content_type: str, address: str) -> Page:
    """Return what a recipe finds on a page.

    Parameters
    ----------
    recipe : Recipe
        The recipe.
    content : bytes
        The page.
    content_type : str
        Its type according to the server, which may name the encoding.
    address : str
        Its address.

    Returns
    -------
    Page
    """
    tree = LexborHTMLParser(_decode(content, content_type))
    title_node = tree.css_first("title")
    title = "" if title_node is None else " ".join(title_node.text().split())
    base = tree.css_first("base[href]")
    root = _address(base.attributes.get("href") or "", address) if base else None
    root = root or address
    items, unusable, found = [], [], dict.fromkeys(["picture", *recipe.fields], 0)
    nodes = tree.css(recipe.item)
    of_page = {
        name: selector.values(tree.root)
        for name, selector in recipe.fields.items()
        if selector.of_page and tree.root is not None
    }
    for node in nodes:
        values = {
            name: of_page[name] if name in of_page else selector.values(node)
            for name, selector in recipe.fields.items()
        }
        for name, value in values.items():
            found[name] += bool(value)
        picture = next(iter(recipe.picture.values(node)), None)
        found["picture"] += picture is not None
        if picture is None:
            continue
        facts = {
            name: LABEL_SEPARATOR.join(value)
            for name, value in values.items()
            if name != recipe.label
        }
        labels = tuple(values[recipe.label]) if recipe.label is not None else ()
        place = _address(picture, root)
        if place is None:
            unusable.append(picture)
        else:
            items.append(Wanted(place, labels, facts))
    following = None
    if recipe.next is not None and tree.root is not None:
        following = next(iter(recipe.next.values(tree.root)), None)
    following = None if following is None else _address(following, root)
    return Page(address, title, items, len(nodes), unusable, found, following)


def is_nested_too_deep(content: bytes) -> bool:
    """Return whether a page has more nested elements than any page written by a person.

    The time of the parser grows with the square of their number, to minutes for a malicious page.
    """
    steps = (-1 if closing else 1 for closing, is_single in _TAG.findall(content) if not is_single)
    depths = itertools.accumulate(steps)
    return any(depth > _MAX_DEPTH for depth in depths)


def page_objection(content: bytes, content_type: str) -> str | None:
    """Return the word of a ``<meta name="robots">`` by which a page forbids gathering, or None."""
    tree = LexborHTMLParser(_decode(content, content_type))
    nodes = tree.css('meta[name="robots" i], meta[name="clusterkit" i]')
    return find_objection(node.attributes.get("content") or "" for node in nodes)


def _address(text: str, base: str) -> str | None:
    """Return an address of a page in full; None if it is invalid."""
    try:
        return parse_address(text, base=base)
    except InvalidInputError:
        return None


def _decode(content: bytes, content_type: str) -> str:
    """Return a page as text, in the encoding named by its server or by itself."""
    named = _CHARSET_OF_TYPE.search(content_type)
    written = _CHARSET.search(content[:2048])
    encoding = named[1] if named else written[1].decode("ascii") if written else "utf-8"
    if content.startswith(b"\xef\xbb\xbf"):
        encoding = "utf-8-sig"
    try:
        # Latin-1 and ASCII mean Windows' code page, as in all browsers.
        is_western = codecs.lookup(encoding).name in ("iso8859-1", "ascii")
        return content.decode("cp1252" if is_western else encoding, "replace")
    # There are encodings that are not of text, and one that cannot be used: "undefined".
    except (LookupError, UnicodeError):
        return content.decode("utf-8", "replace")


class _Reader:
    """Reads the values of a recipe."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._empty = LexborHTMLParser("")

    def error(self, key: str, expected: str, value: Any) -> InvalidInputError:
        """Return the error for a value."""
        return InvalidInputError(
            f"{self.file}: {key} must be {expected}. Received: {str(value)[:200]!r}"
        )

    def check_keys(
        self,
        table: dict[str, Any],
        known: tuple[str, ...],
        *,
        required: tuple[str, ...],
        place: str,
    ) -> None:
        """Raise an error for unknown and missing keys."""
        for key in table:
            if key not in known:
                raise InvalidInputError(
                    f"{self.file}: {place}{key} is not known; the keys are {', '.join(known)}"
                    f"{did_you_mean(key, known)}"
                )
        for key in required:
            if key not in table:
                raise InvalidInputError(f"{self.file}: {place}{key} is missing")

    def texts(self, value: Any, key: str) -> list[str]:
        """Return one or several texts as a list."""
        values = [value] if isinstance(value, str) else value
        if (
            not isinstance(values, list)
            or not values
            or not all(isinstance(one, str) and one for one in values)
        ):
            raise self.error(key, "a text, or a list of texts", value)
        return values

    def expand(self, page: str) -> Iterator[str]:
        """Yield the addresses of a page with {1..5} in it."""
        found = _RANGE.search(page)
        if len(_RANGE.findall(page)) > 1:
            raise self.error("pages", "an address with one range of numbers at most", page)
        numbers = range(int(found[1]), int(found[2]) + 1) if found else range(1)
        if not 0 < len(numbers) <= MAX_PAGES:
            raise self.error("pages", f"from a number to a larger one, {MAX_PAGES} at most", page)
        for number in numbers:
            # {01..12} keeps its zeros.
            text = _RANGE.sub(str(number).zfill(len(found[1])), page) if found else page
            try:
                yield parse_address(text)
            except InvalidInputError as error:
                raise InvalidInputError(f"{self.file}: pages: {error}") from None

    def selector(self, value: Any, key: str, attribute: tuple[str, ...] = ()) -> Selector:
        """Return a selector, from text or a table."""
        table = {"select": value} if isinstance(value, str) else value
        if not isinstance(table, dict):
            raise self.error(key, "a CSS selector, or a table with select", value)
        known: tuple[str, ...] = ("select", "attribute", "several", "separator", "of_page")
        # An item is an element, and pictures are searched in their items.
        if key == "item":
            known = ("select",)
        elif not key.startswith("fields."):
            known = ("select", "attribute", "separator")
        self.check_keys(table, known, required=("select",), place=f"{key}.")
        if "attribute" in table:
            attribute = tuple(self.texts(table["attribute"], f"{key}.attribute"))
        flags = {name: table.get(name, False) for name in ("several", "of_page")}
        for name, flag in flags.items():
            if not isinstance(flag, bool):
                raise self.error(f"{key}.{name}", "true or false", flag)
        separator = table.get("separator")
        if separator is not None and not (isinstance(separator, str) and separator):
            raise self.error(f"{key}.separator", "a text", separator)
        try:
            self._empty.css(table["select"])
        except (SelectolaxError, TypeError, ValueError):
            raise self.error(key, "a CSS selector", table["select"]) from None
        return Selector(table["select"], attribute, separator=separator, **flags)
