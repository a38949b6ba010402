"""The Docker Engine API: HTTP on a unix socket, Docker's JSON, hijacked streams.

Knows HTTP and Docker's field names. Everything that has meaning it asks of the engine.
"""
