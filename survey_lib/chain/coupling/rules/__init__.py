"""Rules from the labels of an operation's inputs to those of its output."""
