"""Documents as data: bytes or text in, values out.

Knows grammars and specifications. Must not touch the disk, the network or the kernel.
"""
