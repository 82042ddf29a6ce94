"""What the adaptive EQ is made of: curves, the model, long-term spectra, the decision, the live thread."""
