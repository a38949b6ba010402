"""What the documentation makes from the code at build time: figures, tables, and links that must resolve."""
