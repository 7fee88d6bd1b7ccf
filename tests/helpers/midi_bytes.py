"""MIDI files byte by byte, for tests: tracks are lists of (ticks since the event before, bytes of the event)."""

END = (0, b"\xff\x2f\x00")


def quantity(value):
    """A number of seven bits a byte."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.insert(0, value & 0x7F | 0x80)
    return bytes(groups)


def on(key=60, velocity=100, channel=0):
    return bytes([0x90 | channel, key, velocity])


def off(key=60, channel=0):
    return bytes([0x80 | channel, key, 0])


def control(number, value, channel=0):
    return bytes([0xB0 | channel, number, value])


def program(number, channel=0):
    return bytes([0xC0 | channel, number])


def meta(kind, data):
    return bytes([0xFF, kind]) + quantity(len(data)) + data


def tempo(microseconds):
    return meta(0x51, microseconds.to_bytes(3, "big"))


def chunk(name, content):
    return name + len(content).to_bytes(4, "big") + content


def track(*events, end=END):
    return chunk(b"MTrk", b"".join(quantity(delta) + data for delta, data in (*events, end)))


def midi(*tracks, kind=1, division=480, count=None):
    """A file of track chunks. 480 ticks are half a second, where nothing else is said."""
    numbers = (kind, len(tracks) if count is None else count, division)
    return chunk(b"MThd", b"".join(number.to_bytes(2, "big") for number in numbers)) + b"".join(tracks)
