"""The models over HTTP and JSON; needs the extra ``http``."""
