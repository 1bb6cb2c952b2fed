"""Check the values of a document that was read from a file, before anything is made of them."""

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from clusterkit.errors import InvalidInputError


@dataclass(frozen=True)
class Rule:
    """What a value must be.

    Attributes
    ----------
    expected : str
        In words, such as "a whole number from 1 to 9".
    accepts : callable
        Tells whether a value is so; it may be of any type.
    """

    expected: str
    accepts: Callable[[Any], bool]

    def __or__(self, other: "Rule") -> "Rule":
        return Rule(
            f"{self.expected} or {other.expected}", lambda x: self.accepts(x) or other.accepts(x)
        )


TEXT = Rule("a text", lambda x: isinstance(x, str))
NOTHING = Rule("null", lambda x: x is None)
FLAG = Rule("true or false", lambda x: isinstance(x, bool))
# Losses may be NaN.
NUMBER = Rule("a number", lambda x: isinstance(x, int | float) and not isinstance(x, bool))


def integer(low: float = -inf, high: float = inf) -> Rule:
    """Return the rule of a whole number within limits."""
    return Rule(
        f"a whole number {_limits(low, high)}",
        lambda x: isinstance(x, int) and not isinstance(x, bool) and low <= x <= high,
    )


def real(low: float = -inf, high: float = inf) -> Rule:
    """Return the rule of a finite number within limits."""
    return Rule(
        f"a number {_limits(low, high)}",
        lambda x: NUMBER.accepts(x) and low <= x <= high and isfinite(x),
    )


def one_of(values: Any) -> Rule:
    """Return the rule of one of some texts."""
    return Rule(
        f"one of {', '.join(map(str, values))}", lambda x: isinstance(x, str) and x in values
    )


def list_of(rule: Rule, low: float = 0, high: float = inf) -> Rule:
    """Return the rule of a list with so many values that keep a rule."""
    return Rule(
        f"a list of {rule.expected}",
        lambda x: isinstance(x, list) and low <= len(x) <= high and all(map(rule.accepts, x)),
    )


def table_of(rule: Rule) -> Rule:
    """Return the rule of a mapping from texts to values that keep a rule."""
    return Rule(
        f"a table of {rule.expected}",
        lambda x: isinstance(x, dict) and all(map(rule.accepts, x.values())),
    )


def check_document(document: Any, rules: Mapping[str, Rule]) -> dict[str, Any]:
    """Return a document whose values keep their rules; what has no rule may be anything.

    Raises
    ------
    InvalidInputError
        If it is no mapping, lacks a value, or one is not what it must be.
    """
    if not isinstance(document, dict):
        raise InvalidInputError("it holds no table of values")
    for name, rule in rules.items():
        if name not in document:
            raise InvalidInputError(f"it says nothing of {name!r}")
        if not rule.accepts(document[name]):
            raise InvalidInputError(
                f"{name!r} must be {rule.expected}. Received: {reprlib.repr(document[name])}"
            )
    return document


def _limits(low: float, high: float) -> str:
    """Say what range a number must lie in."""
    return f"from {low} to {high}" if high < inf else f"of at least {low}"
