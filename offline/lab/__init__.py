"""The laboratory: every experiment on the two coordinate systems, as commands that could fail."""
