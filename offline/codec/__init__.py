"""The codec: a learned lapped transform, integers in a step that follows the level, a range coder, a container."""
