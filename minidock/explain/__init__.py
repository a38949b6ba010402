"""Narration: the trace records of a start, told as a story a reader can follow."""
