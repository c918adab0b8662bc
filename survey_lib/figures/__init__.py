"""The figures that can be cited, and one module a notebook for the others."""
