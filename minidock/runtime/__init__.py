"""An OCI bundle in, a process out: spawner, shim, init and their streams and logs.

Knows the OCI runtime specification and the kernel. Must not know images, networks or Docker.
"""
