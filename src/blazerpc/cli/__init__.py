"""The command line."""

from blazerpc.cli.load import load_app
from blazerpc.cli.proto import export_proto

__all__ = ["export_proto", "load_app"]
