"""Side-by-side measurements: minidock and the peers this machine has, in turn, in one run, on the same image.

Knows engines from outside: their command lines, their sockets, their processes. Imports nothing of minidock.
"""
