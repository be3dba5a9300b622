"""The generated client of app.py."""

from __future__ import annotations

import uvloop
from sidebyside_client import InferenceClient

from benchmarks.sidebyside.clients.pace import arguments, pace


async def main() -> None:
    """Call as the command line says."""
    parser = arguments()
    parser.add_argument("--http", choices=("blaze", "h2"), required=True)
    args = parser.parse_args()
    async with InferenceClient(args.target, http=args.http) as client:
        await pace(
            [lambda: client.predict_echo(value="0123456789")], args.concurrency, args.seconds
        )


if __name__ == "__main__":
    uvloop.run(main())
