"""Engines that run models outside the server's process, each an extra."""

import os

# Read when Ray is imported. Without the first, what is asked of Ray while there is no connection
# makes one, to any Ray that is found on the machine.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
