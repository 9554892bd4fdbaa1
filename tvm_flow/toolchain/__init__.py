"""Linker, C compiler, ELF files and the thread pool that is linked into libraries."""
