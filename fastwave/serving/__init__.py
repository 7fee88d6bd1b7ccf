"""The wing that lets people hear a model while it runs: on the sound card of this machine, or over HTTP."""
