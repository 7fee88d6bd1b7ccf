"""The wing of the parallel student: a network that makes all samples of a sound at once."""
