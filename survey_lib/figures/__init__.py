"""The figures of the course, which can be drawn again and cited; each module lists the notebooks that it serves."""
