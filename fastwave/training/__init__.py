"""The training loop and all that it keeps, shows and writes."""
