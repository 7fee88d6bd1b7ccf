"""A model made ready to generate, on one of three backends, and the state that it moves on."""
