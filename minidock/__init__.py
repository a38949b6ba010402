"""minidock: Docker rebuilt in Python, small enough to read and real enough to use.

The layers, from the bottom: `kernel` and `formats`; `storage`, `network` and `runtime`; `registry`; `engine`;
`api`. A layer imports to its left only (tests/test_architecture.py). `cli` speaks HTTP to `api`.
"""

__version__ = "0.1.0"
