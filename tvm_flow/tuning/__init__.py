"""Tuning: records, building and measuring candidates in sub-processes, cost model, search."""
