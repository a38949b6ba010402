"""What Linux offers, one module per man-page family: no policy and no containers.

Knows system calls, their constants and the files under /proc and /sys. Must not know images, OCI documents
or Docker.
"""
