"""A bundle against PyTorch eager, and where its time goes."""
