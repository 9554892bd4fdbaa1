"""What operators, algorithms, tuner and compiler agree on."""
