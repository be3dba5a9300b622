"""The console script, and ``python -m blazerpc.cli``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line.

    A health check is found before the modules of the other commands are imported: they take three
    times as long as the check, which has a probe's timeout to keep to.
    """
    if sys.argv[1:2] == ["health"]:
        from blazerpc.cli.health import main as health

        sys.exit(health(sys.argv[2:]))
    from blazerpc.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
