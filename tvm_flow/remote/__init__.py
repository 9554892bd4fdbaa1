"""Boards over the network: the tracker, who is there, and measuring on them."""
