"""The report of a run shows what the log says, loads nothing from elsewhere, and escapes every name and text."""

import base64
import hashlib
import json
import os
import re
import struct
import time
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from fastwave.errors import FastwaveError
from fastwave.sound import audio, plots
from fastwave.training import history, report, report_samples
from report_runs import RATE, pluck, sample, start, train, validation, write_log, write_run


class Page(HTMLParser):
    """The elements of a page, and the text in each kind of them."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def text_in(self, tag):
        return [text for name, text in self.texts if name == tag]


def page_of(run):
    path = report.write(run)
    assert path == run / "report.html"
    return path.read_text()


@pytest.fixture(scope="module")
def sound_page(tmp_path_factory):
    return page_of(write_run(tmp_path_factory.mktemp("runs") / "strings"))


# What it shows


def test_the_state_is_one_sentence(sound_page):
    (state,) = re.findall(r"<p class=state>(.*?)</p>", sound_page)
    assert re.fullmatch(
        r"Step 12,000 of 20,000 after 2 h 13 min: 2\.\d{3} bits a sample on held-out data, "
        r"4\d,\d{3} samples a second; stopped after 133 minutes\.",
        state,
    )


def test_a_run_with_only_a_start_line_has_a_page(tmp_path):
    write_log(tmp_path / "run", [start()])
    page = page_of(tmp_path / "run")
    assert "Step 0 of 20,000 after 0 s." in page
    assert "Nothing has been measured yet." in page and "There are no samples yet." in page
    assert "--set residual_channels=48</pre>" in page


def test_the_entropies_of_blind_guesses_are_lines_beside_the_curves(sound_page):
    labels = Page(sound_page).text_in("text")
    assert "white noise 8.00" in labels and "guessing from how often each value occurs 6.12" in labels


def test_a_text_run_shows_its_texts_and_counts_characters(tmp_path):
    page = page_of(write_run(tmp_path / "letters", sound=False))
    shown = Page(page)
    assert sum("bright cold day" in text for text in shown.text_in("pre")) == 1
    assert len(shown.text_in("pre")) == 1 + report_samples.MOST_STEPS + 1  # real, generated, the command
    assert "bits a character" in page and not shown.of("audio")


def test_control_characters_of_a_text_are_made_visible(tmp_path):
    write_log(tmp_path / "run", [start(text=True), sample(1000, ".txt")])
    (tmp_path / "run" / "samples").mkdir()
    (tmp_path / "run" / "samples" / "real.txt").write_bytes(b"plain")
    (tmp_path / "run" / "samples" / "step-00001000.txt").write_bytes(b"a\0b\x1bc\nd\xff\xc3")
    assert "a\u2400b\u241bc\nd\ufffd\ufffd" in page_of(tmp_path / "run")


def test_events_skipped_files_and_settings_are_shown(sound_page):
    cells = Page(sound_page).text_in("td")
    for said in (
        "out of memory: 4 windows at a time",
        "the gradient is not finite",
        "the loss exploded at step 7400: back to step 7000, learning rate times 0.5",
        "410,368",
        "float32",
    ):
        assert said in cells
    assert "23 data files could not be used, of which the first 20" in sound_page
    assert sound_page.count("there is no sound in this file") == 20


def test_of_many_events_the_last_are_shown(tmp_path):
    skips = [{"event": "skipped_step", "step": step, "elapsed": 1.0, "reason": f"no {step}"} for step in range(1, 99)]
    write_log(tmp_path / "run", [start(), *skips])
    page = page_of(tmp_path / "run")
    assert "The last 50 of 98." in page
    assert "no 98</td>" in page and "no 48</td>" not in page


def test_a_resumed_run_shows_the_command_and_steps_of_the_last_start(tmp_path):
    write_log(tmp_path / "run", [start()])
    resumed = {"command": "fastwave train strings --steps 30000", "settings": {"steps": 30_000}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(resumed))
    page = page_of(tmp_path / "run")
    assert "Step 0 of 30,000" in page and "fastwave train strings --steps 30000</pre>" in page


# What it reads


def test_lines_beyond_the_step_of_a_resume_or_rollback_are_dropped(tmp_path):
    rollback = {"event": "rollback", "step": 20, "elapsed": 15.0, "to": 10, "reason": "exploded"}
    resume = {"event": "resume", "step": 30, "elapsed": 25.0}
    lines = [
        start(), train(10, 5.0), train(20, 90.0), validation(20, 91.0), sample(20), rollback,
        train(20, 4.0), train(30, 3.5), validation(30, 3.6), sample(30), train(40, 77.0), sample(40), resume,
        train(40, 3.0),
    ]  # fmt: skip
    write_log(tmp_path, lines)
    seen = history.read(tmp_path)
    assert history.points(seen.train, "bits").T.tolist() == [[10, 5.0], [20, 4.0], [30, 3.5], [40, 3.0]]
    assert [line["step"] for line in seen.validation] == [30]
    assert [line["step"] for line in seen.samples] == [30]
    assert [event["event"] for event in seen.events] == ["rollback", "resume"]


def test_a_run_that_resumed_after_its_end_has_not_ended(tmp_path):
    end = {"event": "end", "step": 20, "elapsed": 9.0, "bits": None, "reason": "stopped after 30 minutes"}
    write_log(tmp_path, [start(), train(20), end])
    assert history.read(tmp_path).ended == "stopped after 30 minutes"
    write_log(tmp_path, [start(), train(20), end, {"event": "resume", "step": 20, "elapsed": 9.0}, train(30)])
    assert history.read(tmp_path).ended == ""


def test_lines_cut_short_by_a_kill_are_passed_over(tmp_path):
    whole = [json.dumps(line) for line in (start(), train(10), train(20))]
    cut = json.dumps(train(15))[:40]
    (tmp_path / "log.jsonl").write_text("\n".join([whole[0], whole[1], cut, whole[2], "[3]", '{"step": 1}', cut]))
    assert [line["step"] for line in history.read(tmp_path).train] == [10, 20]
    report.write(tmp_path)


def test_values_that_are_not_finite_numbers_are_not_drawn(tmp_path):
    write_log(
        tmp_path, [start(white_noise_bits=float("inf"), order0_bits=None), train(10, float("nan")), train(20, 2.5)]
    )
    assert history.points(history.read(tmp_path).train, "bits").T.tolist() == [[20, 2.5]]
    drawn = re.findall(r"<figure>.*?</figure>", page_of(tmp_path), flags=re.DOTALL)
    assert len(drawn) == 3 and "white noise" not in drawn[0]
    assert not re.search(r"\b(nan|inf)", " ".join(drawn), flags=re.IGNORECASE)


def test_curves_of_100_000_lines_are_thinned_to_means(tmp_path):
    write_log(tmp_path, [start(), *(train(step, step % 2) for step in range(1, 100_001))])
    curve = history.points(history.read(tmp_path).train, "bits")
    assert curve.shape == (2, history.MOST_POINTS)
    assert curve[1].tolist() == [0.5] * history.MOST_POINTS  # means: single lines are all 0 or all 1
    assert curve[0, 0] == 50.5 and curve[0, -1] == 99_950.5
    assert len(page_of(tmp_path)) < 200_000


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 1999, 2001])
def test_thinning_keeps_the_mean_at_every_length(count):
    curve = history.points([{"step": step, "bits": 2.0 * step} for step in range(count)], "bits")
    assert curve.shape == (2, min(count, history.MOST_POINTS))
    assert (np.diff(curve[0]) > 0).all() and (curve[1] == 2 * curve[0]).all()
    assert abs(curve[0].mean() - (count - 1) / 2) < 1


def test_a_folder_without_a_log_is_refused_with_advice(tmp_path):
    with pytest.raises(FastwaveError, match="Give the folder that `fastwave train --out` made"):
        report.write(tmp_path)


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    write_log(tmp_path, [start()])
    before = page_of(tmp_path)

    def fail(*_):
        raise OSError(28, "no space left on device")

    monkeypatch.setattr("fastwave.files.os.replace", fail)
    write_log(tmp_path, [start(), train(10)])
    with pytest.raises(FastwaveError, match="no space left on device"):
        report.write(tmp_path)
    assert (tmp_path / "report.html").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "report.html"]


# Safety


def test_the_report_loads_nothing_from_elsewhere(sound_page):
    page = Page(sound_page)
    assert "http:" not in sound_page and "https:" not in sound_page and "url(" not in sound_page
    assert "@import" not in sound_page and not page.of("script") and not page.of("link") and not page.of("iframe")
    sources = [
        value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert sources and all(source.startswith("data:") for source in sources)
    policy = next(meta["content"] for meta in page.of("meta") if "content-security-policy" in str(meta).lower())
    assert policy.startswith("default-src 'none'")


def test_only_the_page_of_a_run_that_is_on_has_a_script_and_its_policy_allows_no_other(tmp_path):
    write_log(tmp_path, [start(), train(10)])
    page = Page(page_of(tmp_path))
    (script,) = page.text_in("script")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(meta["content"] for meta in page.of("meta") if "content-security-policy" in str(meta).lower())
    assert policy.endswith(f"script-src 'sha256-{digest}'") and policy.startswith("default-src 'none'")
    assert "Still on, at step 10." in page_of(tmp_path)
    long_ago = time.time() - history.QUIET_SECONDS - 60
    os.utime(tmp_path / "log.jsonl", (long_ago, long_ago))
    assert not Page(page_of(tmp_path)).of("script") and "Broken off: its log ends at step 10" in page_of(tmp_path)
    write_log(tmp_path, [start(), train(10), {"event": "end", "step": 10, "elapsed": 9.0, "reason": "done"}])
    assert not Page(page_of(tmp_path)).of("script") and "Finished" in page_of(tmp_path)


def test_names_and_texts_are_escaped(tmp_path):
    evil = "<script>alert('&\"')</script>"
    first = start(text=True, source=evil, skipped=[[evil, evil]])
    first |= {"command": evil, "device": evil}
    first["config"] |= {evil: evil}
    first["settings"] |= {evil: [evil]}
    events = [
        {"event": kind, "step": 1, "elapsed": 1.0, "reason": evil, "bad": [evil], "size": evil, "to": evil,
         "learning_rate_scale": evil}
        for kind in ("skipped_step", "rollback", "resume", "micro_batch", evil)
    ]  # fmt: skip
    end = {"event": "end", "step": 1, "elapsed": 1.0, "reason": evil}
    run = tmp_path / "a <b>&amp; 'c' \"d\""
    write_log(run, [first, train(1), *events, sample(1, ".txt"), end])
    (run / "samples").mkdir()
    (run / "samples" / "real.txt").write_text(evil)
    (run / "samples" / "step-00000001.txt").write_text(f"</pre>{evil}")
    page = page_of(run)
    shown = Page(page)
    assert not shown.of("script") and not shown.of("b")
    assert shown.text_in("h1") == [run.name]
    assert "<script" not in page and page.count("&lt;script&gt;") >= 14


def test_names_that_are_not_valid_unicode_do_not_stop_the_report(tmp_path):
    write_log(tmp_path, [start(skipped=[["a\udcffb", "\ud800"]])])
    assert "a?b" in page_of(tmp_path)


def test_a_log_cannot_choose_the_folder_that_is_read(tmp_path):
    (tmp_path / "secret.txt").write_text("hidden")
    line = {**sample(10, ".txt"), "file": "../../secret.txt", "real": str(tmp_path / "secret.txt")}
    write_log(tmp_path / "run", [start(text=True), line])
    assert "hidden" not in page_of(tmp_path / "run")


# Sound


def variants(step):
    """The lines of one step's samples, from silence and primed."""
    return [
        {**sample(step), "file": f"samples/{step}-{kind}.wav", "label": f"{kind}, temperature <1>", **prime}
        for kind, prime in (("from silence", {}), ("continues the data", {"prime": RATE}))
    ]


def test_all_samples_of_the_newest_step_are_shown_and_one_of_each_earlier_one(tmp_path):
    (tmp_path / "samples").mkdir()
    lines = [line for step in (10, 20, 30) for line in variants(step)]
    for path in {line["file"] for line in lines} | {"samples/real.wav"}:
        audio.save(tmp_path / path, pluck(2.0, 0.3, 0), RATE)
    write_log(tmp_path, [start(), *lines])
    page = page_of(tmp_path)
    assert [player["aria-label"] for player in Page(page).of("audio")] == [
        "Real, held out", "Step 30 from silence, temperature <1>", "Step 30 continues the data, temperature <1>",
        "Step 20 from silence, temperature <1>", "Step 10 from silence, temperature <1>",
    ]  # fmt: skip
    marks = [line for line in Page(page).of("line") if line.get("class") == "prime"]
    assert len(marks) == 2 and marks[0]["x1"] == "50.00%"  # in waveform and spectrogram
    assert page.count("data up to the line at 1.00 s, then the model") == 1


def test_levels_are_absolute_in_numbers_and_in_pictures(tmp_path):
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    write_log(tmp_path, [start(), *(sample(step) for step in (10, 20, 30))])
    (tmp_path / "samples").mkdir()
    for name, wave in (("step-00000010", tone), ("step-00000020", 0.01 * tone), ("step-00000030", 0 * tone)):
        audio.save(tmp_path / f"samples/{name}.wav", wave, RATE)
    page = page_of(tmp_path)
    levels = re.findall(r"<p class=levels>(.*?)</p>", page)
    assert levels == [
        "silence",
        "peak \u221240.0 dB, RMS \u221243.0 dB, 0.00% clipped",
        "peak 0.0 dB, RMS \u22123.0 dB, 12.50% clipped",
    ]
    heights = [
        max(float(y) for y in re.findall(r"[ML][\d.-]+ ([\d.-]+)", outline))
        for outline in re.findall(r"class=waveform d='(.*?)Z'", page)
    ]
    assert heights == pytest.approx([500, 505, 1000], abs=0.5)  # of 1000, of which 500 is silence
    pictures = [base64.b64decode(image["src"].split(",")[1]) for image in Page(page).of("img")]
    brightest = [int(np.frombuffer(pixels_of(each), np.uint8).max()) for each in pictures]
    assert brightest[0] == 0 and brightest[2] > 250
    assert brightest[1] == pytest.approx(255 * (1 - 40 / plots.RANGE_DB), abs=3)


def test_the_levels_of_a_continuation_leave_out_the_data_before_it(tmp_path):
    tone = 0.5 * np.sin(np.arange(RATE) * 0.3)
    write_log(tmp_path, [start(), {**sample(10), "prime": RATE}])
    (tmp_path / "samples").mkdir()
    audio.save(tmp_path / "samples/step-00000010.wav", np.concatenate([tone, np.zeros(RATE)]), RATE)
    assert "<p class=levels>silence; data up to the line at 1.00 s, then the model</p>" in page_of(tmp_path)


def pixels_of(png):
    at = png.index(b"IDAT")
    size = int.from_bytes(png[at - 4 : at], "big")
    return zlib.decompress(png[at + 4 : at + 4 + size])


def test_the_part_of_a_text_that_is_data_is_marked(tmp_path):
    write_log(tmp_path, [start(text=True), {**sample(10, ".txt"), "prime": 5}])
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples/step-00000010.txt").write_text("a <b> c")
    assert "title='data'>a &lt;b&gt;</span> c</pre>" in page_of(tmp_path)


def test_a_few_sounds_are_embedded_as_the_bytes_of_their_files(sound_page, tmp_path):
    page = Page(sound_page)
    players = page.of("audio")
    assert [player["aria-label"] for player in players] == [
        "Real, held out", "Step 12,000", "Step 9,000", "Step 7,000", "Step 4,000", "Step 1,000",
    ]  # fmt: skip
    audio.save(tmp_path / "real.wav", pluck(3.0, 0.0, 1), RATE)
    assert base64.b64decode(players[0]["src"].split(",")[1]) == (tmp_path / "real.wav").read_bytes()
    assert all("controls" in player for player in players)
    assert len(sound_page) < 4_000_000
    assert all("Spectrogram of" in image["alt"] for image in page.of("img")) and len(page.of("img")) == 6


def test_long_sounds_are_cut_so_that_the_page_stays_small(tmp_path):
    write_log(tmp_path, [start(), *(sample(step) for step in range(10, 100, 10))])
    (tmp_path / "samples").mkdir()
    wave = np.tile(pluck(2.0, 0.3, 0), 20)  # 40 s
    for path in [line["file"] for line in map(sample, range(10, 100, 10))] + ["samples/real.wav"]:
        audio.save(tmp_path / path, wave, 48_000)
    page = page_of(tmp_path)
    assert "the first 5.5 s" in page
    assert len(page) < 8_000_000


def test_a_missing_or_damaged_sound_does_not_remove_the_others(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "samples" / "real.wav").unlink()
    (run / "samples" / "step-00012000.wav").write_bytes(b"RIFF....WAVE")
    page = page_of(run)
    assert page.count("It cannot be heard") == 2
    assert len(Page(page).of("audio")) == 4


@pytest.mark.parametrize("wave", [np.zeros(8000), np.array([0.5]), np.full(37, -1.0)])
def test_silence_and_sounds_shorter_than_a_window_are_drawn(tmp_path, wave):
    write_log(tmp_path, [start(), sample(10)])
    (tmp_path / "samples").mkdir()
    for name in ("real.wav", "step-00000010.wav"):
        audio.save(tmp_path / "samples" / name, wave, RATE)
    assert len(Page(page_of(tmp_path)).of("img")) == 2


def test_a_tone_is_bright_at_its_frequency_in_the_spectrogram():
    seconds = np.arange(RATE) / RATE
    levels = plots.spectrogram(np.sin(2 * np.pi * 2000 * seconds), RATE)
    row = levels.mean(axis=1).argmax()
    assert 1 - row / (len(levels) - 1) == pytest.approx(2000 / 8000, abs=0.005)  # counted from the bottom
    assert levels[row].mean() - np.median(levels) > 60


def test_a_png_holds_the_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)
    palette = plots.palette()
    file, chunks = plots.png(pixels, palette), {}
    assert file.startswith(b"\x89PNG\r\n\x1a\n")
    at = 8
    while at < len(file):
        size, name = struct.unpack(">I4s", file[at : at + 8])
        content = file[at + 8 : at + 8 + size]
        assert struct.unpack(">I", file[at + 8 + size : at + 12 + size])[0] == zlib.crc32(name + content)
        chunks[name] = content
        at += 12 + size
    assert chunks[b"IHDR"] == struct.pack(">2I5B", 7, 5, 8, 3, 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(5, 8)
    assert (rows[:, 0] == 0).all() and (rows[:, 1:] == pixels).all()
    assert chunks[b"PLTE"] == palette.tobytes()


def test_equal_steps_of_level_are_equal_steps_of_lightness():
    """CIE L* of the 256 colours rises by about the same everywhere."""
    linear = (plots.palette() / 255.0) ** 2.2
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.00886, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    spread = np.diff(lightness[::15])
    assert spread.min() > 0.6 * spread.mean() and spread.max() < 1.5 * spread.mean()


def test_ticks_are_round_numbers_within_the_axis():
    for low, high, about in ((0, 12_000, 6), (1.9, 8.3, 5), (0, 0.00204, 5), (0, 1, 6), (-3.2, 16, 5), (0, 8, 4)):
        ticks = plots.ticks(low, high, about)
        assert about / 2.6 <= len(ticks) <= about + 2
        assert all(-1e-9 <= at <= 1 + 1e-9 for at, _ in ticks)
    assert [name for _, name in plots.ticks(0, 12_000, 6, " steps")] == [
        "0",
        "2k",
        "4k",
        "6k",
        "8k",
        "10k",
        "12k steps",
    ]
