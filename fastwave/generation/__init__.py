"""From a model to sound or text: generate, stream, score."""
