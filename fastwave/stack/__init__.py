"""The residual stack and the head as operators, with their backends."""
