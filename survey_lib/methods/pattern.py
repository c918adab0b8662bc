"""Methods of the category pattern."""
