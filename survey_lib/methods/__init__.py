"""The survey: what each paper adds, one pure function or one small rule a method."""
