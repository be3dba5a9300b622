"""``blaze proto``: the app's schema as .proto files."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from blazerpc.app import BlazeApp
from blazerpc.codegen.proto import ProtoGenerator
from blazerpc.codegen.schema import FILE_NAME
from blazerpc_client.wire.options import OPTIONS_FILE


def export_proto(app: BlazeApp, directory: Path | str) -> list[Path]:
    """Write the app's .proto file, and the options file that it imports, below ``directory``.

    Returns:
        The files, the app's own first.

    Raises:
        OSError: when the file system refuses.
    """
    options = resources.files("blazerpc_client.wire").joinpath("options.proto").read_text()
    texts = {FILE_NAME: ProtoGenerator().generate(app.registry), OPTIONS_FILE: options}
    for name, text in texts.items():
        path = Path(directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [Path(directory, name) for name in texts]
