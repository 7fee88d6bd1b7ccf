"""A wing: notes -> sound, and notes from nothing."""
