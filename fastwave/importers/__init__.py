"""A wing: checkpoints of other projects -> models of fastwave, read as data: nothing in a file is ever run."""
