"""One engine a file: a converted network, loaded and limited to its threads.

Each module has ``contestant(*, threads, path)``, which ``tvm_flow.measure.timing_worker`` calls in
a process of the engine's own environment, already confined to its cores. It returns a
:class:`~tvm_flow.measure.timing_worker.Runnable`; inputs and outputs are NCHW, fp32 throughout.
"""
