"""The catalogue of figures that can be drawn again by name, and cited."""
