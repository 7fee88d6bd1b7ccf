"""Sound files, and the local features that are computed from them."""
