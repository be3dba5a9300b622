"""Engines that run models outside the server's process, each an extra."""
