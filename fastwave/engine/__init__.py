"""Engines: models made ready to generate on one of three backends, their states, and the generator protocol."""
