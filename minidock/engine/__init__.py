"""Docker's verbs over storage and runtime: what create, start, stop, load and rm mean.

Knows containers, images and their life. Must not know HTTP or Docker's JSON.
"""
