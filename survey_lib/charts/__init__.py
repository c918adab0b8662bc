"""Kinds of charts that know no study, and their files: png, svg, pdf and the data sheet."""
