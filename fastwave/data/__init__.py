"""From files to training windows: sources, prepare, shards, windows."""
