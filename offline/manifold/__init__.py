"""The music manifold: oscillator dynamics on a sphere that continue a multichannel signal. Needs torch."""
