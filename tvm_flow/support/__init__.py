"""What every part may use and no part is about."""
