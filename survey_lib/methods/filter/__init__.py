"""Methods that remove filters."""
