"""Which HTTP/2 a server or client speaks with: this package's, or that of grpclib."""

from __future__ import annotations

import os
from typing import Final, Literal, TypeAlias, cast, get_args

#: ``"blaze"``: this package. ``"h2"``: grpclib as it is, on the h2 library.
Http: TypeAlias = Literal["blaze", "h2"]

#: Decides where nothing was said in code: a way back that needs no new release of an app.
VARIABLE: Final = "BLAZERPC_HTTP"


def chosen_http(http: str | None) -> Http:
    """Return the choice; without one, that of ``BLAZERPC_HTTP``, and else ``"blaze"``.

    Raises:
        ValueError: for a name that there is not.
    """
    chosen = os.environ.get(VARIABLE, "blaze") if http is None else http
    if chosen not in get_args(Http):
        names = " or ".join(map(repr, get_args(Http)))
        raise ValueError(f"http is {chosen!r}; it must be {names}")
    return cast(Http, chosen)
