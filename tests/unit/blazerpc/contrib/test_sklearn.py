from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import DBSCAN
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from blazerpc import BlazeApp, ValidationError
from blazerpc.runtime.model import Batching
from blazerpc_client import InvalidArgument
from tests.unit.blazerpc.support import client_of, serving

IRIS: Any = load_iris()
DIABETES: Any = load_diabetes()


async def predicted(estimator: object, x: object, **options: Any) -> Any:
    app = BlazeApp()
    app.add_sklearn("m", estimator, **options)
    async with serving(app) as run, client_of(app, run) as client:
        return await client.predict("m", x=x)


async def test_a_classifier_gives_its_probabilities() -> None:
    app = BlazeApp()
    estimator = LogisticRegression(max_iter=1000).fit(IRIS.data, IRIS.target_names[IRIS.target])
    app.add_sklearn("iris", estimator, max_batch_size=5)
    model = app.registry.get("iris")
    assert str(model.parameters["x"]) == "float64 (batch, 4)"
    assert str(model.result) == "float64 (batch, 3)"
    assert model.doc == (
        "``predict_proba`` of scikit-learn's LogisticRegression.\n\n"
        "Columns of the result: setosa, versicolor, virginica."
    )
    assert model.batching is Batching.ROWS
    async with serving(app) as run, client_of(app, run) as client:
        rows: list[Any] = await asyncio.gather(
            *[client.predict("iris", x=row[None]) for row in IRIS.data]
        )
        nothing: Any = await client.predict("iris", x=IRIS.data[:0])
        with pytest.raises(InvalidArgument, match=r"expected shape \(batch, 4\), got \(1, 3\)"):
            await client.predict("iris", x=np.zeros((1, 3)))
    np.testing.assert_allclose(
        np.concatenate(rows), estimator.predict_proba(IRIS.data), rtol=0, atol=1e-12
    )
    assert nothing.shape == (0, 3)


async def test_labels_are_text_or_numbers_as_they_were_fitted() -> None:
    names = IRIS.target_names[IRIS.target]
    for labels in (names, names.astype(object), IRIS.target):
        estimator = LinearSVC().fit(IRIS.data, labels)  # which has no probabilities
        np.testing.assert_array_equal(
            await predicted(estimator, IRIS.data), estimator.predict(IRIS.data)
        )


async def test_a_method_can_be_chosen() -> None:
    estimator = RandomForestClassifier(5, random_state=0).fit(IRIS.data, IRIS.target)
    np.testing.assert_array_equal(
        await predicted(estimator, IRIS.data, method="predict"), estimator.predict(IRIS.data)
    )


@pytest.mark.parametrize("columns", [1, 2])
async def test_a_regression_gives_numbers(columns: int) -> None:
    target = np.stack([DIABETES.target] * columns, 1)[:, 0 if columns == 1 else slice(None)]
    estimator = LinearRegression().fit(DIABETES.data, target)
    result = await predicted(estimator, DIABETES.data)
    assert result.shape == target.shape
    np.testing.assert_array_equal(result, estimator.predict(DIABETES.data))


async def test_a_transformer_and_a_pipeline_are_models() -> None:
    estimator = make_pipeline(StandardScaler(), PCA(2)).fit(IRIS.data)
    np.testing.assert_array_equal(
        await predicted(estimator, IRIS.data), estimator.transform(IRIS.data)
    )


async def test_a_sparse_result_is_sent_as_an_array() -> None:
    estimator = OneHotEncoder(handle_unknown="ignore").fit(np.array([[1], [2]]))
    result = await predicted(estimator, np.array([[2.0], [3.0]]))
    assert result.tolist() == [[0, 1], [0, 0]]


async def test_an_estimator_of_a_data_frame_gets_one() -> None:
    frame, target = load_wine(return_X_y=True, as_frame=True)
    assert isinstance(frame, pd.DataFrame)
    columns = make_column_transformer((StandardScaler(), ["alcohol", "proline"]))
    estimator = make_pipeline(columns, LogisticRegression()).fit(frame, target)
    app = BlazeApp()
    app.add_sklearn("m", estimator)
    assert "Columns of x: alcohol, malic_acid, ash," in app.registry.get("m").doc
    # Anything but a frame of these columns is a warning of scikit-learn's, and here an error.
    np.testing.assert_array_equal(
        await predicted(estimator, frame.to_numpy()), estimator.predict_proba(frame)
    )


@pytest.mark.parametrize(
    ("estimator", "method", "message"),
    [
        (LogisticRegression(), None, "model 'm': LogisticRegression is not fitted"),
        (make_pipeline(StandardScaler()), None, "model 'm': Pipeline is not fitted"),
        (DBSCAN().fit(IRIS.data), None, "DBSCAN has none of the methods predict_proba, predict"),
        (StandardScaler().fit(IRIS.data), "predict", "StandardScaler has no method 'predict'"),
        (object(), None, "object has none of the methods"),
        (
            OneHotEncoder().fit(np.array([["a"], ["b"]])),
            None,
            r"OneHotEncoder.transform fails for a row of 1 zeros: ",
        ),
        (
            RandomForestClassifier(2).fit(IRIS.data, np.stack([IRIS.target] * 2, 1)),
            None,
            "gives no array with a row for each row; wrap it in a function",
        ),
    ],
)
def test_what_is_no_model_of_rows_is_refused(
    estimator: object, method: str | None, message: str
) -> None:
    app = BlazeApp()
    with pytest.raises(ValidationError, match=message):
        app.add_sklearn("m", estimator, method=method)
    assert app.registry.list_models() == []
