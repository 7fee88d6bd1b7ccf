"""A model made ready to generate, on one of four backends, and the state that it moves on."""
