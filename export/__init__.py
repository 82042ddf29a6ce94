"""torch models to streaming ONNX packages: manifest, goldens, parity check."""
