"""Errors, files and messages: what every part uses, and what uses none of them."""
