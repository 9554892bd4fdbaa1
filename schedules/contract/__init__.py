"""What operator families, tuner and compiler agree on."""
