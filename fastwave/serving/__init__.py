"""A model heard while it runs: on the sound card of this machine, or over HTTP."""
