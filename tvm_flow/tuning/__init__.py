"""Tuning: records, building and measuring candidates in sub-processes, cost model, search.

:func:`tvm_flow.tuning.tuner.tune_tasks` is the way in; :class:`tvm_flow.tuning.records.RecordStore`
is all that compiling needs. Nothing is imported here, so that reading records stays light and each
worker process loads only what its role needs.
"""
