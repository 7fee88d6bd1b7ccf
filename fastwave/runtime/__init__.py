"""What this machine offers: the native library, and the one place that chooses a backend."""
