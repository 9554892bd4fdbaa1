"""Graph passes of the CPU: layout, fusion and the choice between ways."""
