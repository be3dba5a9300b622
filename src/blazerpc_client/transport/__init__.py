"""HTTP/2 for gRPC, used by client and server alike.

From ``connection`` inwards nothing does I/O: bytes in, events out, bytes to send.
"""
