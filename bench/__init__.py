"""Side-by-side benchmarks: every figure beside its rival's, from the same run. See README.md here."""
