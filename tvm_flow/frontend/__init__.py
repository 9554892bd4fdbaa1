"""From ``--model`` to the graph the passes work on: ``model`` loads and checks, which takes PyTorch
only; ``export`` exports and imports, which takes TVM."""
