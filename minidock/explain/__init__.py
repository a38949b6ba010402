"""Narration and pictures: the trace of a start told as a story, and a container that runs, drawn."""
