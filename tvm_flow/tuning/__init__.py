"""Tuning: records, building and measuring candidates in sub-processes, cost model, search.

:func:`tvm_flow.tuning.search.tuner.tune_tasks` is the way in; what compiling needs is
:class:`tvm_flow.tuning.records.store.RecordStore` alone. Nothing is imported here, so that reading
records stays light and each worker process loads only what its role needs.
"""
