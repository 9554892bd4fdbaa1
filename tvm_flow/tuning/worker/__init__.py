"""Building, checking and timing candidates in processes of their own."""
