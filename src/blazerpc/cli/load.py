"""``module:attr`` -> the app."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path

from blazerpc.app import BlazeApp
from blazerpc.exceptions import BlazeRPCError, ConfigurationError


class ImportStringError(ConfigurationError):
    """An import string that leads to no app."""


def load_app(import_string: str) -> BlazeApp:
    """Import ``module:attr`` and return the app; the current directory is on the import path.

    Raises:
        ImportStringError: when the string leads to no app.
        ConfigurationError: when the module itself fails.
    """
    module_name, colon, attribute = import_string.partition(":")
    if not (module_name and colon and attribute):
        raise ImportStringError(
            f"{import_string!r} has not the form module:attribute, like app:app"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    app: object = _import(module_name)
    for name in attribute.split("."):
        try:
            app = getattr(app, name)
        except AttributeError:
            raise ImportStringError(f"module {module_name} has no attribute {attribute}") from None
    if not isinstance(app, BlazeApp):
        raise ImportStringError(f"{import_string} is a {type(app).__name__}, not a BlazeApp")
    return app


def _import(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The module itself, or a parent of it; a module that it imports is its own failure.
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ImportStringError(f"no module named {error.name} here or installed") from None
        raise _import_failed(name, error) from error
    except BlazeRPCError:
        raise
    except Exception as error:
        raise _import_failed(name, error) from error


def _import_failed(name: str, error: Exception) -> ConfigurationError:
    if isinstance(error, SyntaxError):
        where = f"{error.filename}:{error.lineno}"
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{frame.filename}:{frame.lineno}"
    return ConfigurationError(f"importing {name} failed: {type(error).__name__}: {error} ({where})")
