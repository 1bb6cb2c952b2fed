"""Check the values of JSON documents."""

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from clusterkit.errors import InvalidInputError
from clusterkit.utils.arguments import is_number


@dataclass(frozen=True)
class Rule:
    """Validation rule of a value.

    Attributes
    ----------
    expected : str
        Description of valid values, such as "a whole number from 1 to 9".
    accepts : callable
        Returns whether a value of any type is valid.
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
    """Return the rule for integers within limits."""
    return Rule(
        f"a whole number {_limits(low, high)}",
        lambda x: isinstance(x, int) and not isinstance(x, bool) and low <= x <= high,
    )


def real(low: float = -inf, high: float = inf) -> Rule:
    """Return the rule for finite numbers within limits."""
    return Rule(
        f"a number {_limits(low, high)}",
        lambda x: is_number(x) and low <= x <= high,
    )


def one_of(values: Any) -> Rule:
    """Return the rule for one of several strings."""
    return Rule(
        f"one of {', '.join(map(str, values))}", lambda x: isinstance(x, str) and x in values
    )


def list_of(rule: Rule, low: float = 0, high: float = inf) -> Rule:
    """Return the rule for lists of valid values, with limits on the length."""
    return Rule(
        f"a list of {rule.expected}",
        lambda x: isinstance(x, list) and low <= len(x) <= high and all(map(rule.accepts, x)),
    )


def table_of(rule: Rule) -> Rule:
    """Return the rule for mappings from strings to valid values."""
    return Rule(
        f"a table of {rule.expected}",
        lambda x: isinstance(x, dict) and all(map(rule.accepts, x.values())),
    )


def check_document(document: Any, rules: Mapping[str, Rule]) -> dict[str, Any]:
    """Check the values of a document against their rules, and return it.

    Raises
    ------
    InvalidInputError
        If it is not a mapping, or a value is missing or invalid.
    """
    if not isinstance(document, dict):
        raise InvalidInputError("it is not a JSON object")
    for name, rule in rules.items():
        if name not in document:
            raise InvalidInputError(f"{name!r} is missing")
        if not rule.accepts(document[name]):
            raise InvalidInputError(
                f"{name!r} must be {rule.expected}. Received: {reprlib.repr(document[name])}"
            )
    return document


def _limits(low: float, high: float) -> str:
    """Return the range of a number as text."""
    return f"from {low} to {high}" if high < inf else f"of at least {low}"
