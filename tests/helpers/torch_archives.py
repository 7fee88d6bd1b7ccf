"""Torch files made by hand: a pickle and storages of any content, with right checksums."""

import pickle
import zipfile

import torch


def write_zip(path, content, storages=(), **more):
    """The zip format around a pickle. storages: bytes by key; more: other records, such as byteorder=b"big"."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        for key, numbers in dict(storages).items():
            archive.writestr(f"archive/data/{key}", numbers)
        for name, record in more.items():
            archive.writestr(f"archive/{name}", record)
    return path


def legacy(content, storages=()):
    """The bytes of the legacy format around a pickle. storages: (count, bytes) by key."""
    parts = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    parts += [content, pickle.dumps([*dict(storages)], 2)]
    for count, numbers in dict(storages).values():
        parts += [count.to_bytes(8, "little"), numbers]
    return b"".join(parts)


def tensor(storage_type=b"ctorch\nFloatStorage\n", key="0", elements=6, offset=0, shape=(2, 3), strides=(3, 1)):
    """The instructions of a tensor: torch._utils._rebuild_tensor_v2 over a persistent id."""
    identity = b"(" + text("storage") + storage_type + text(key) + text("cpu") + integer(elements) + b"tQ"
    sizes = b"".join(b"(" + b"".join(map(integer, each)) + b"t" for each in (shape, strides))
    flags = b"\x89" + b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + identity + integer(offset) + sizes + flags + b"tR"


def state_dict(**values):
    """The pickle of a dictionary whose values are instructions."""
    return b"\x80\x02}(" + b"".join(text(name) + code for name, code in values.items()) + b"u."


def text(value):
    encoded = value.encode()
    return b"X" + len(encoded).to_bytes(4, "little") + encoded


def integer(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def numbers(count=6):
    return torch.arange(float(count)).numpy().tobytes()
