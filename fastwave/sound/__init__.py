"""Sound files, features of sound, pictures of sound."""
