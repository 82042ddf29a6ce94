"""Tier 1: is the next latent step predictable? Direction and magnitude, injection, representations, rollouts."""
