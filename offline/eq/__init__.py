"""The adaptive EQ's models: what words mean in settings, and which setting a sound carries."""
