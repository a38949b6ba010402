"""The command line: a thin client of the Engine API, one module per verb, imported when the verb is used.

Knows HTTP over a unix socket and Docker's output formats. Must not know the engine.
"""
