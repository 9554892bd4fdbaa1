"""Tuning records: lines, files, and what is known of a board."""
