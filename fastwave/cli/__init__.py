"""The `fastwave` command: one small function a verb."""
