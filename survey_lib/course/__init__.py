"""The teaching machinery of the course."""
