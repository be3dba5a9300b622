"""An estimator of scikit-learn, served as it is: `blaze serve examples.sklearn_wine:app`.

Needs the extra `sklearn`.
"""

from __future__ import annotations

from typing import Any

from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from blazerpc import BlazeApp

wine: Any = load_wine()
estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(
    wine.data, wine.target_names[wine.target]
)

app = BlazeApp("sklearn-wine")
app.add_sklearn("wine", estimator)
app.add_sklearn("wine-label", estimator, method="predict")
