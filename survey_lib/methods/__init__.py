"""The survey: what each paper adds, one pure function a method, in one folder a category."""
