"""Blobs, layers, images and repositories on disk.

Knows the OCI image layout and overlayfs. Must not know containers or the API.
"""
