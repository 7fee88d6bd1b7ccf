"""The wing from text to sound: text -> sentences of phones -> durations, pitch and spectrum -> WaveNet -> sound."""
