"""Graph passes that hold for every device."""
