"""``blaze proto``: the app's schema as .proto files."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from blazerpc.app import BlazeApp
from blazerpc.codegen.lock import EMPTY, SchemaLock
from blazerpc.codegen.proto import ProtoGenerator
from blazerpc.codegen.schema import FILE_NAME, updated
from blazerpc_client.wire.options import OPTIONS_FILE


def export_proto(app: BlazeApp, directory: Path | str, lock_file: Path | None = None) -> list[Path]:
    """Write the app's .proto file, and the options file that it imports, below ``directory``.

    Args:
        app: whose schema it is.
        directory: where the files go.
        lock_file: with the numbers on the wire; what is new is added to it.

    Returns:
        The files, the app's own first.

    Raises:
        ConfigurationError: when a type has changed since it was locked; nothing is written.
        OSError: when the file system refuses.
    """
    lock = None if lock_file is None else _locked(app, lock_file)
    options = resources.files("blazerpc_client.wire").joinpath("options.proto").read_text()
    texts = {FILE_NAME: ProtoGenerator().generate(app.registry, lock), OPTIONS_FILE: options}
    for name, text in texts.items():
        path = Path(directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    written = [Path(directory, name) for name in texts]
    if lock is not None and lock_file is not None:
        lock.write(lock_file)
        written.append(lock_file)
    return written


def _locked(app: BlazeApp, path: Path) -> SchemaLock:
    """Return the lock at ``path``, with all that the app has."""
    lock = SchemaLock.read(path) if path.exists() else EMPTY
    return updated(lock, app.registry)
