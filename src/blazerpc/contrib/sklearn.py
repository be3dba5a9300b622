"""Models of scikit-learn: a fitted estimator, whose features and classes are the types.

``app.add_sklearn("digits", estimator)`` serves one without a function.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blazerpc.contrib.graph import typed_function
from blazerpc.contrib.missing import missing
from blazerpc.exceptions import ValidationError
from blazerpc.runtime.inspection import BATCH
from blazerpc.types import _TensorType

try:
    import sklearn  # noqa: F401 - whoever has an estimator has it; asked for to say so early
except ModuleNotFoundError as _error:
    raise missing(_error, "scikit-learn", "sklearn") from _error

__all__ = ["SklearnModel"]

#: Methods of an estimator that can be a model, the most telling one first.
METHODS: Final = ("predict_proba", "predict", "transform")


class SklearnModel:
    """A fitted estimator and one of its methods, which takes rows and gives a row for each.

    Args:
        estimator: with the interface of scikit-learn.
        method: of the estimator; None is the first of ``METHODS`` that it has.

    Attributes:
        features: how many columns it takes.

    Raises:
        ValidationError: when it is not fitted, has no such method, or the method gives no array
            with a row for each row.
    """

    def __init__(self, estimator: object, method: str | None = None) -> None:
        self._name = type(estimator).__name__
        self._estimator: Any = estimator  # scikit-learn publishes no types
        self._method = method or self._first_method()
        if not hasattr(estimator, self._method):
            raise ValidationError(f"{self._name} has no method {self._method!r}")
        features = getattr(estimator, "n_features_in_", None)
        if features is None:
            raise ValidationError(f"{self._name} is not fitted: it knows no number of features")
        self.features: int = int(features)
        names = getattr(estimator, "feature_names_in_", None)
        self._columns: list[str] | None = None if names is None else [str(n) for n in names]
        # What it gives for a row says dtype and shape, whatever the estimator is.
        self._example = self._probed()

    def predict(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the method's result.

        Args:
            x: numbers of shape (rows, features); there may be no rows.
        """
        rows = np.asarray(x)
        if len(rows) == 0:  # which scikit-learn refuses
            return self._example[:0]
        return self._called(rows)

    def as_function(self) -> Callable[..., object]:
        """Return a function whose annotations are the estimator's types, to be registered."""
        dtype, shape = self._example.dtype, self._example.shape[1:]
        element = {"U": np.str_, "S": np.bytes_}.get(dtype.kind, dtype.type)

        def call(arguments: Mapping[str, Any]) -> object:
            return self.predict(arguments["x"])

        return typed_function(
            call,
            {"x": _TensorType(np.float64, (BATCH, self.features), is_input=True)},
            _TensorType(element, (BATCH, *shape), is_input=False),
            self._doc(),
        )

    def _first_method(self) -> str:
        for method in METHODS:
            if hasattr(self._estimator, method):
                return method
        raise ValidationError(f"{self._name} has none of the methods {', '.join(METHODS)}")

    def _called(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        given = getattr(self._estimator, self._method)(self._frame(rows))
        result = np.asarray(given.toarray() if hasattr(given, "toarray") else given)
        # Labels that were fitted as objects are text.
        return result.astype(np.str_) if result.dtype.kind == "O" else result

    def _frame(self, rows: npt.NDArray[Any]) -> Any:
        """Return the rows as the estimator was fitted: with names of columns, if it has them."""
        if self._columns is None:
            return rows
        # Who fitted the estimator with a data frame has pandas.
        import pandas as pd

        return pd.DataFrame(rows, columns=self._columns)

    def _probed(self) -> npt.NDArray[Any]:
        what = f"{self._name}.{self._method}"
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # of a row that nobody has sent
                example = self._called(np.zeros((1, self.features)))
        except Exception as error:
            raise ValidationError(
                f"{what} fails for a row of {self.features} zeros: {type(error).__name__}: {error}"
            ) from None
        if example.shape[:1] != (1,):
            raise ValidationError(
                f"{what} gives no array with a row for each row; wrap it in a function, and "
                "register that"
            )
        return example

    def _doc(self) -> str:
        lines = [f"``{self._method}`` of scikit-learn's {self._name}."]
        if self._columns is not None:
            lines.append(f"Columns of x: {_listed(self._columns)}.")
        classes = getattr(self._estimator, "classes_", None)
        if isinstance(classes, np.ndarray):
            of_result = self._method != "predict"
            kind = "Columns of the result" if of_result else "Classes"
            lines.append(f"{kind}: {_listed(classes.tolist())}.")
        return "\n\n".join([lines[0], "\n".join(lines[1:])]).strip()


def _listed(names: Sequence[object]) -> str:
    return ", ".join(str(name) for name in names)
