"""Teaching: lessons, exercises, grading, student copies, and running and checking notebooks."""
