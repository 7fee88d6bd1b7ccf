"""Nobody ever sees half a file."""

import errno
import os
import stat
import threading

import pytest

from fastwave import files


def write(path, text):
    with files.replacing(path) as temporary:
        temporary.write_text(text)


def test_a_new_file_appears_whole_and_alone(tmp_path):
    write(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_old_file_stands_until_the_new_one_is_complete(tmp_path):
    target = tmp_path / "a.txt"
    write(target, "old")
    with files.replacing(target) as temporary:
        temporary.write_text("ne")
        assert target.read_text() == "old"
        temporary.write_text("new")
        assert temporary.parent == target.parent  # a rename is atomic within one file system only
        assert temporary.suffix == ".txt"
    assert target.read_text() == "new"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    target = tmp_path / "a.txt"
    write(target, "old")

    def write_half():
        with files.replacing(target) as temporary:
            temporary.write_text("ne")
            raise failure

    with pytest.raises(failure):
        write_half()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_at_the_end_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    target = tmp_path / "a.txt"
    write(target, "old")

    def fail(*_):
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(OSError, match="broken disk"):
        write(target, "new")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_bytes_reach_the_disk_before_the_name_and_the_name_after_them(tmp_path, monkeypatch):
    calls = []
    really = {name: getattr(os, name) for name in ("fsync", "replace")}
    for name in really:

        def noted(*arguments, name=name):
            calls.append(name)
            return really[name](*arguments)

        monkeypatch.setattr(files.os, name, noted)
    write(tmp_path / "a.txt", "new")
    assert calls == ["fsync", "replace"] + ["fsync"] * (os.name != "nt")


def test_a_folder_that_cannot_be_synced_does_not_make_a_done_write_fail(tmp_path, monkeypatch):
    really = os.fsync

    def only_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no such thing here")
        really(descriptor)

    monkeypatch.setattr(files.os, "fsync", only_files)
    write(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.skipif(os.name == "nt", reason="modes are a POSIX matter")
def test_permissions_are_those_of_an_ordinary_write(tmp_path):
    plain = tmp_path / "plain.txt"
    plain.write_text("")
    write(tmp_path / "new.txt", "new")
    assert (tmp_path / "new.txt").stat().st_mode == plain.stat().st_mode
    plain.chmod(0o640)
    write(plain, "again")
    assert stat.S_IMODE(plain.stat().st_mode) == 0o640


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_written_through(tmp_path):
    (tmp_path / "folder").mkdir()
    real = tmp_path / "folder" / "real.txt"
    real.write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to(real)
    write(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    longest = tmp_path / ("x" * 251 + ".txt")
    write(longest, "new")
    assert longest.read_text() == "new"


def test_what_is_not_an_ordinary_file_is_never_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    odd = [tmp_path / "folder"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        odd.append(tmp_path / "pipe")
    before = [path.stat().st_mode for path in odd]
    for path in odd:
        with pytest.raises(OSError, match="not an ordinary file"):
            write(path, "new")
    assert [path.stat().st_mode for path in odd] == before


def test_a_missing_folder_is_the_systems_own_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "nowhere" / "a.txt", "new")


def test_many_writers_at_once_leave_one_whole_file(tmp_path):
    target = tmp_path / "a.txt"
    texts = [str(writer) * 10_000 for writer in range(8)]
    threads = [threading.Thread(target=write, args=(target, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_text() in texts
    assert os.listdir(tmp_path) == ["a.txt"]
