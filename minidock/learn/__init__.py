"""The machinery of the chapters: start files, graders, sandboxes, and the swap into a private engine."""
