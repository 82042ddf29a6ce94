"""One file per processor: what it is, its parameters, its docs."""
