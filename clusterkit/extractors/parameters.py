"""Parameters as in scikit-learn's estimators, without its import, which takes a second."""

from __future__ import annotations

import inspect
from typing import Any, Self


class Parameterized:
    """What scikit-learn's ``clone``, pipelines and searches need of an estimator.

    Parameters are the arguments of ``__init__``, which only stores them under their names.
    """

    @classmethod
    def _parameter_defaults(cls) -> dict[str, Any]:
        """Return the names of the parameters, sorted, with their defaults."""
        if cls.__init__ is object.__init__:
            return {}
        found = list(inspect.signature(cls.__init__).parameters.values())[1:]
        named = (each for each in found if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL))
        return {each.name: each.default for each in sorted(named, key=lambda each: each.name)}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters.

        Parameters
        ----------
        deep : bool
            Whether to return the parameters of parameters that are estimators, too, as
            ``<parameter>__<name>``.
        """
        parameters: dict[str, Any] = {}
        for name in self._parameter_defaults():
            value = getattr(self, name)
            if deep and hasattr(value, "get_params") and not isinstance(value, type):
                inner = value.get_params()
                parameters |= {f"{name}__{key}": inner[key] for key in inner}
            parameters[name] = value
        return parameters

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters, and return the object.

        Raises
        ------
        ValueError
            If there is no parameter of that name.
        """
        names = list(self._parameter_defaults())
        for name, value in parameters.items():
            name, is_inner, inner = name.partition("__")
            if name not in names:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: "
                    f"{names!r}."
                )
            if is_inner:
                getattr(self, name).set_params(**{inner: value})
            else:
                setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        """Return the call that makes the object, with parameters that are not defaults."""
        defaults, values = self._parameter_defaults(), self.get_params(deep=False)
        changed = (
            f"{name}={value!r}"
            for name, value in values.items()
            if repr(value) != repr(defaults[name])
        )
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn assumes of any estimator."""
        from sklearn.utils import Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=None,
            classifier_tags=None,
            regressor_tags=None,
        )
