"""Sentences of a run begin with the verb that the user typed. The tests of each wing see that its verb names itself."""

import pytest

from fastwave.training.saying import say, saying


def test_a_sentence_names_the_verb_that_makes_the_run(capsys):
    @saying("voice")
    def make():
        say("one", "two")
        with saying("distill"):
            say("three")
        say("four")

    say("before")
    make()
    say("after")
    assert capsys.readouterr().err.splitlines() == [
        *("fastwave train: before", "fastwave voice: one", "fastwave voice: two", "fastwave distill: three"),
        *("fastwave voice: four", "fastwave train: after"),
    ]


def test_after_a_failure_it_is_the_verb_before(capsys):
    with pytest.raises(KeyError), saying("voice"):
        raise KeyError
    say("after")
    assert capsys.readouterr().err == "fastwave train: after\n"


def test_nothing_is_shown_where_nothing_was_asked_for(capsys):
    say("hidden", show=False)
    assert capsys.readouterr().err == ""
