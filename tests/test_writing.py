"""Sessions of a person and a model: the text, undo, retry, settings, commands."""

import itertools
import os
import stat
import string

import numpy as np
import pytest

from shakespeare_gen import writing
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.generation import Generator
from shakespeare_gen.options import Options
from shakespeare_gen.system import user_state
from shakespeare_gen.writing import drafts
from shakespeare_gen.writing.commands import COMMANDS, Commands, help_page
from tests.conftest import REPOSITORY
from tests.fake_models import LETTERS, FakeTokenizer, HexTokenizer, MarkovChain, alphabet

SYMBOLS = FakeTokenizer(tuple("\n abcde/é"))


class CountingChain(MarkovChain):
    """Counts the ids that are read."""

    num_read = 0

    def read(self, ids, state=None, training=False):
        self.num_read += np.size(ids)
        return super().read(ids, state, training)


def random_generator():
    """A model that writes different texts with different seeds."""
    logits = np.random.default_rng(0).normal(size=(SYMBOLS.size, SYMBOLS.size))
    return Generator(CountingChain(logits), SYMBOLS)


def session_of(generator=None, **settings):
    values = {"length": 10, "seed": 5, **settings}
    options = Options.parse(writing.groups(), values)
    return writing.Session(generator or random_generator(), options)


def reciting(**settings):
    """A session with a model that knows the alphabet."""
    return session_of(Generator(alphabet(), LETTERS), **settings)


def generated(pieces):
    return "".join(pieces)


# The text


def test_the_model_continues_the_text_of_the_writer_again_and_again():
    session = reciting(length=5)
    session.add("abc")
    assert generated(session.generate()) == "defgh"
    assert generated(session.generate()) == "ijklm"
    assert session.text == string.ascii_lowercase[:13]
    assert [(p.text, p.is_generated) for p in session.passages] == [
        ("abc", False),
        ("defgh", True),
        ("ijklm", True),
    ]
    assert session.passages[-1].finish_reason == "length"


def test_a_session_writes_what_generate_writes():
    """The same seed and prompt, and the start token before an empty text."""
    for prompt in ("", "ab"):
        generator = random_generator()
        session = session_of(generator, seed=3)
        session.add(prompt)
        [expected] = generator.generate(prompt, length=10, seed=3)
        assert generated(session.generate()) == expected.text


def test_only_new_text_is_read():
    """Every passage keeps the state after it, also those that undo and retry return to."""
    generator = random_generator()
    session = session_of(generator)
    session.add("abcde" * 20)
    generated(session.generate())
    assert generator.model.num_read == 100
    generated(session.generate())
    assert generator.model.num_read == 110
    session.undo()
    generated(session.retry())
    session.undo()
    generated(session.generate())
    assert generator.model.num_read == 110


def test_every_state_is_that_of_the_whole_text():
    generator = random_generator()
    session = session_of(generator)
    session.add("ab\n")
    for _ in range(3):
        generated(session.generate())
    expected = generator.read("".join(p.text for p in session.passages[:-1]))
    np.testing.assert_array_equal(session.passages[-2].state.logits, expected.logits)
    np.testing.assert_array_equal(session.passages[-2].state.recent, expected.recent)


def test_a_line_is_added_below_the_text():
    session = session_of()
    assert session.add_line("ab") == "ab"
    assert session.add_line("cd") == "\ncd"
    session.add("\n")
    assert session.add_line("e") == "e"
    assert session.text == "ab\ncd\ne"


def test_a_replaced_text_keeps_the_passages_before_the_difference():
    """A page sends the whole text after an edit; only what follows the edit is read again."""
    generator = random_generator()
    session = session_of(generator)
    session.add("ab" * 50)
    text = generated(session.generate())
    first, second = session.passages
    session.replace("ab" * 50 + text + "cd")
    assert session.passages[:2] == [first, second]
    session.replace("ab" * 50 + "e")
    assert session.passages[0] is first
    before = generator.model.num_read
    generated(session.generate())
    assert generator.model.num_read == before + 1
    session.replace("")
    assert session.text == ""
    session.undo()
    assert session.text.startswith("ab" * 50 + "e")


def test_what_the_model_wrote_before_an_interruption_is_part_of_the_text():
    session = reciting(length=1000)
    session.add("a")
    pieces = session.generate()
    shown = next(pieces) + next(pieces)  # the caller is interrupted here
    assert session.text == "a" + shown
    shown += generated(itertools.islice(session.generate(), 1))
    assert session.text == "a" + shown == (string.ascii_lowercase * 100)[: len(session.text)]


def test_an_interrupted_reading_changes_nothing():
    session = session_of()
    session.add("abc")

    def check():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generated(session.generate(check))
    assert session.text == "abc"
    assert session.num_undoable == 1


def test_characters_outside_the_vocabulary_are_rejected_or_read_as_others():
    """The text stays as the writer wrote it; the model reads the nearest characters."""
    session = session_of()
    with pytest.raises(UserError, match="text: expected characters .*, received 'X'"):
        session.add("aX")
    assert session.text == ""
    session.set(unknown="skip")
    session.add("aXb")
    generated(session.generate())
    assert session.passages[0].text == "aXb"
    assert session.passages[0].state.recent.tolist() == [SYMBOLS.encode("ab").tolist()]
    session.set(unknown="error")
    generated(session.generate())  # what was accepted stays accepted
    with pytest.raises(UsageError, match=r"text: expected utf-8, received 'a\\udcff'"):
        session.add("a\udcff")


def test_a_text_may_end_within_a_character():
    """Two tokens are a character here; of five, the last one is neither shown nor read again."""
    logits = np.random.default_rng(0).normal(size=(16, 16))
    session = session_of(Generator(MarkovChain(logits), HexTokenizer()), length=5)
    session.add("a")
    assert len(generated(session.generate())) == 2
    generated(session.generate())
    assert session.passages[1].state.model_state["count"] == [[6]]


# Undo, redo, retry


def test_retry_replaces_the_last_text_with_that_of_the_next_seed():
    session = session_of(seed=8)
    session.add("ab")
    first, second = generated(session.generate()), generated(session.retry())
    assert first != second
    assert session.text == "ab" + second
    assert [p.seed for p in session.passages] == [None, 9]
    again = session_of(seed=9)
    again.add("ab")
    assert generated(again.generate()) == second
    session.undo()
    assert session.text == "ab" + first


def test_retry_continues_if_the_writer_wrote_last():
    session = reciting(length=3)
    session.add("ab")
    assert generated(session.retry()) == "cde"


def test_undo_and_redo_go_through_every_change():
    session = reciting(length=2)
    texts = [""]
    for change in (
        lambda: session.add("ab"),
        lambda: generated(session.generate()),
        lambda: session.replace("xyz"),
        lambda: generated(session.generate()),
    ):
        change()
        texts.append(session.text)
    assert texts == ["", "ab", "abcd", "xyz", "xyzab"]
    for text in texts[-2::-1]:
        assert session.undo()
        assert session.text == text
    assert not session.undo()
    for text in texts[1:]:
        assert session.redo()
        assert session.text == text
    assert not session.redo()


def test_a_new_change_ends_what_can_be_redone():
    session = session_of()
    session.add("a")
    session.undo()
    session.add("b")
    assert (session.num_undoable, session.num_redoable) == (1, 0)


def test_a_long_session_forgets_old_changes_but_no_text(monkeypatch):
    monkeypatch.setattr("shakespeare_gen.writing.session.MAX_CHANGES", 4)
    session = session_of()
    for _ in range(10):
        session.add("ab")
        generated(session.generate())
    assert session.num_undoable == 3
    assert session.text.count("ab") >= 10
    assert sum(p.state is not None for p in session.passages) <= 4
    for _ in range(3):
        assert session.undo()
    generated(session.generate())


# Settings and scores


def test_the_settings_are_those_of_the_option_groups():
    session = reciting()
    session.set(length=3, top_k=2)
    assert generated(session.generate()) == "bcd"
    with pytest.raises(UsageError, match="num_samples: expected 1, because a stream is one text"):
        session.set(num_samples=2)
    with pytest.raises(UsageError, match="mirostat_tau: expected .*top_k"):
        session.set(mirostat_tau=3.0)
    with pytest.raises(UsageError, match="temperature: expected at least 0"):
        session.set(temperature=-1.0, length=7)
    assert session.settings.non_defaults() == {"length": 3, "seed": 5, "top_k": 2}
    with pytest.raises(UsageError, match="num_beams: expected 1"):
        session_of(num_beams=3)


def test_without_a_seed_every_text_has_its_own():
    session = session_of(seed=-1)
    for _ in range(3):
        generated(session.generate())
    assert len({p.seed for p in session.passages}) == 3


def test_the_largest_seed_is_followed_by_0():
    session = session_of(seed=2**31 - 1)
    for _ in range(2):
        generated(session.generate())
    assert [p.seed for p in session.passages] == [2**31 - 1, 0]


def test_a_score_has_the_bits_of_every_token_and_their_sum():
    uniform = Generator(MarkovChain(np.zeros((26, 26))), LETTERS)
    session = session_of(uniform)
    score = session.score("hello")
    assert score.pieces == tuple("hello")
    np.testing.assert_allclose(score.bits, np.log2(26), rtol=1e-6)
    assert score.total_bits == pytest.approx(5 * np.log2(26))
    assert score.bits_per_character == pytest.approx(np.log2(26))
    session.add("abc")
    assert session.score().num_characters == 3
    assert session.score("").bits_per_character == 0


# Commands


def run_lines(session, *lines):
    """The text of all replies, and the last message."""
    commands, text, message = Commands(session), "", ""
    for line in lines:
        reply = commands.run(line)
        text += reply.text + generated(reply.pieces or ())
        message = reply.message
    return text, message


def test_a_line_is_continued_and_so_is_an_empty_one():
    session = reciting(length=3)
    assert run_lines(session, "ab", "", "/continue") == ("abcdefghijk", "")
    assert session.text == "abcdefghijk"


def test_two_slashes_begin_a_line_with_one():
    session = session_of()
    run_lines(session, "//ab")
    assert session.text.startswith("/ab")


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("/set temperature 0.9", "temperature", 0.9),
        ("/set temperature=1", "temperature", 1.0),
        ("/set  top_k  7 ", "top_k", 7),
        ("/set until_line on", "until_line", True),
        ("/set until_line false", "until_line", False),
        ("/set unknown nearest", "unknown", "nearest"),
        ("/set stop ab cd", "stop", ("ab cd",)),
        (r'/set stop "\n\n"', "stop", ("\n\n",)),
        (r'/set stop ["\n", "b"]', "stop", ("\n", "b")),
        ("/set stop []", "stop", ()),
    ],
)
def test_a_setting_is_read_from_text(line, name, value):
    session = session_of(stop=("x",))
    run_lines(session, line)
    found = session.settings.by_name()[name]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "/retyr",
            "unknown command '/retyr' (// begins text with a slash); did you mean '/retry'?",
        ),
        ("/exit", "unknown command '/exit' (// begins text with a slash); did you mean '/quit'?"),
        ("/", "unknown command '/' (// begins text with a slash); known: /add, /clear"),
        ("/undo now", "/undo: expected no argument, received 'now'"),
        ("/undo", "/undo: expected an earlier change, found none"),
        ("/redo", "/redo: expected an undone change, found none"),
        ("/save", "/save: expected FILE, received nothing"),
        ("/set", "/set: expected NAME [VALUE], received nothing"),
        ("/set top_k 1.5", "top_k: expected a value of type int, received '1.5'"),
        ("/set top_k -1", "top_k: expected at least 0, received -1"),
        (
            "/set until_line perhaps",
            "until_line: expected a value of type bool, received 'perhaps'",
        ),
        ("/set unknown X", "unknown: expected one of error, skip, nearest, received 'X'"),
        ("/set stop [1]", "stop: expected a tuple of strings, received (1,)"),
        ("/set topk 3", "unknown option 'topk'; did you mean `top_k`?"),
        ("/set checkpoint last", "unknown option 'checkpoint'; known: "),
        ("/set temperature nan", "temperature: expected a finite number, received nan"),
        ("/load /nowhere/x", "/load /nowhere/x: cannot be read: No such file or directory"),
        ("/load /dev/zero", "/load /dev/zero: expected a regular file, found something else"),
        ("/load ~nosuchuser/x", "/load ~nosuchuser/x: cannot be read: No such file or directory"),
        ("/save /nowhere/x", "/save /nowhere/x: expected a file in an existing folder"),
        ("/save! /dev/null", "/save /dev/null: expected a regular file, found something else"),
        ("/save ~nosuchuser/x", "/save ~nosuchuser/x: cannot be written: "),
        ("/add X", "text: expected characters of the vocabulary, received 'X' at 0"),
    ],
)
def test_a_line_that_cannot_be_carried_out_says_what_was_expected(line, message):
    with pytest.raises(UserError) as error:
        Commands(session_of()).run(line)
    assert str(error.value).startswith(message)


def test_positions_in_messages_are_those_of_the_line():
    session = session_of()
    session.add("ab")
    with pytest.raises(UserError, match="'X' at 2"):
        Commands(session).run("abX")


def test_a_setting_is_explained():
    _, message = run_lines(session_of(), "/set temperature")
    assert message == "temperature 0.8\ndivides the logits; 0: always the most likely token"
    _, message = run_lines(session_of(), "/set stop ab", "a", "/settings")
    assert "\nlength 10\n" in message
    assert "\nstop ['ab']\n" in message
    assert message.endswith("\nseed of the last text: 5")


def test_text_is_saved_loaded_and_inserted(tmp_path):
    path = tmp_path / "my text.txt"
    session = session_of()
    text, _ = run_lines(session, "ab", f"/save {path}")
    assert path.read_text("utf-8") == session.text == text
    with pytest.raises(UserError, match=r"expected a new file, found an existing one; /save! repl"):
        run_lines(session, f"/save {path}")
    run_lines(session, "/clear", r'/add "a\nb"', f"/save! {path}")
    assert path.read_bytes() == b"a\nb"
    path.write_bytes("\ufeffcd\r\n".encode())
    _, message = run_lines(session, f"/load {path}", f"/insert {path}", "/add e")
    assert session.text == "cd\ncd\ne"
    assert message == "added: 7 characters, the end is 'cd\\ncd\\ne'"
    path.write_bytes(b"a\0\xff\x81\0")
    with pytest.raises(UserError, match=f"^/load {path}: expected plain text, received binary"):
        run_lines(session, f"/load {path}")
    assert session.text == "cd\ncd\ne"
    path.write_text("ab", encoding="utf-16")
    run_lines(session, f"/load {path}")
    assert session.text == "ab"


def test_show_is_the_whole_text_and_undo_shows_its_end():
    session = reciting(length=3)
    text, _ = run_lines(session, "ab", "/show")
    assert text == "abcde" * 2
    assert run_lines(session, "/undo") == ("", "undone: 2 characters, the end is 'ab'")
    assert run_lines(session, "/redo")[1] == "redone: 5 characters, the end is 'abcde'"


def test_score_shows_the_bits_of_short_texts():
    session = session_of(Generator(MarkovChain(np.zeros((26, 26))), LETTERS))
    _, message = run_lines(session, "/score hello")
    assert message.splitlines() == [
        "4.700 bits per character, 23.5 in total, 5 characters",
        "  'h' 4.7    'e' 4.7    'l' 4.7    'l' 4.7    'o' 4.7",
    ]
    _, message = run_lines(session, "/add " + "abc" * 100, "/score")
    assert message == "4.700 bits per character, 1,410.1 in total, 300 characters"


def test_the_help_page_and_the_docs_list_every_command():
    page = help_page()
    text = (REPOSITORY / "docs" / "generating.md").read_text("utf-8")
    for name, command in COMMANDS.items():
        assert f"/{name}" in page
        assert f"`/{name}" in text
        assert command.summary in page
    assert max(map(len, page.splitlines())) <= 80


# Drafts and files of the user


@pytest.fixture
def state_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "shakespeare_gen"


def test_a_draft_is_private_and_follows_the_text(state_dir):
    draft = drafts.Draft()
    draft.keep("")
    assert drafts.newest() is None
    draft.keep("abc")
    draft.keep("abcd")
    assert draft.path.read_text("utf-8") == "abcd"
    assert stat.S_IMODE(draft.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(draft.path.parent.stat().st_mode) == 0o700
    assert drafts.newest() == draft.path
    draft.remove()
    assert drafts.newest() is None


def test_only_the_newest_drafts_of_earlier_sessions_are_kept(state_dir):
    folder = user_state.folder("drafts")
    for day in range(10, 30):
        user_state.write(folder / f"2026-01-{day}-120000-1.txt", "text")
    assert drafts.newest().name == "2026-01-29-120000-1.txt"
    assert len(list(folder.iterdir())) == drafts.MAX_DRAFTS


def test_a_state_folder_that_cannot_be_created_is_reported(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="state folder: cannot be created: "):
        drafts.Draft().keep("text")
    assert drafts.newest() is None


def test_a_relative_state_folder_is_ignored(tmp_path, monkeypatch):
    """The specification of XDG says so; it would depend on the current folder."""
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_state.folder() == tmp_path / ".local" / "state" / "shakespeare_gen"
    assert not os.path.exists("relative")
