"""What a fresh machine needs before minidock runs on it: found out, listed, done, recorded, and taken back.

Knows packages, environments and root. Needs nothing but Python's standard library, and never imports
minidock.
"""
