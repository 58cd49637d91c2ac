"""What the tests compare with: the mathematics in NumPy (float64), written to be read."""
