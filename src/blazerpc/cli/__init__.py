"""The command line."""

from typing import TYPE_CHECKING

from blazerpc_client.lazy import lazy_names

if TYPE_CHECKING:
    from blazerpc.cli.load import load_app
    from blazerpc.cli.proto import export_proto
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "load": ["load_app"],
            "proto": ["export_proto"],
        },
    )

__all__ = ["export_proto", "load_app"]


def __dir__() -> list[str]:
    return __all__
