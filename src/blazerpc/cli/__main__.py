"""``python -m blazerpc.cli``: the command line, without the console script."""

from blazerpc.cli.main import main

main()
