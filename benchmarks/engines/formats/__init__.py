"""One file format a module: ``write(case, folder, threads)``, run in the environment that has the
converter by ``python -m benchmarks.engines.formats FORMAT CASE FOLDER THREADS``.
"""
