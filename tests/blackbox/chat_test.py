"""chat at a terminal (a pty) and of a script: answers, commands, keys, signals, history, context."""
import codecs
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import stat
import struct
import subprocess
import termios
import time
import unittest

from program import PROGRAM, SOURCE_DIR, TINY, ProgramTest, weightbridge

CHATML = SOURCE_DIR / "tests" / "fixtures" / "chat_templates" / "chatml.jinja"
SLOW = 60  # seconds that a busy machine may take for anything


def without_escapes(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>()][B0]?", "", text)


class Terminal:
    """The program with a terminal for input and both outputs."""

    def __init__(self, *arguments, columns=100, **environment):
        lead, follow = pty.openpty()
        fcntl.ioctl(follow, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "XDG_STATE_HOME")}
        env.update({"TERM": "xterm", "LC_ALL": "C.UTF-8"}, **environment)
        # A session of its own, whose terminal it is: Ctrl-C is a key then.
        self.process = subprocess.Popen([PROGRAM, "chat", *map(str, arguments)], stdin=follow, stdout=follow,
                                        stderr=follow, env=env, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(follow)
        self.lead, self.written, self.seen = lead, "", 0
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self, seconds):
        ready, _, _ = select.select([self.lead], [], [], seconds)
        try:
            chunk = os.read(self.lead, 65536) if ready else None
        except OSError:  # Linux's way of saying that the other end is closed
            chunk = b""
        if chunk:
            self.written += self.decoder.decode(chunk)
        return chunk

    def expect(self, text):
        """Reads on until `text` comes; what came before it since the last call."""
        deadline = time.monotonic() + SLOW
        while True:
            plain = without_escapes(self.written)
            at = plain.find(text, self.seen)
            if at >= 0:
                before, self.seen = plain[self.seen:at], at + len(text)
                return before
            if time.monotonic() > deadline or self.read(1) == b"":
                raise AssertionError(f"{text!r} did not come after {plain[self.seen:]!r}")

    def type(self, text):
        os.write(self.lead, text.encode())

    def end(self):
        """Its exit status, once it has left by itself."""
        while self.read(SLOW):
            pass
        os.close(self.lead)
        return self.process.wait(SLOW)


class ChatTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.home = self.dir / "home"
        self.home.mkdir()
        self.folder = self.dir / "model"
        self.folder.mkdir()
        for name in ("tokenizer.json", TINY.name):
            shutil.copy(TINY.parent / name, self.folder)
        shutil.copy(CHATML, self.folder / "chat_template.jinja")
        self.model = self.folder / TINY.name

    def terminal(self, *arguments, model=None, **more):
        t = Terminal(model or self.model, *arguments, HOME=str(self.home), **more)
        self.addCleanup(t.process.kill)
        return t

    def script(self, lines, *arguments, model=None):
        return weightbridge("chat", model or self.model, *arguments, input="".join(l + "\n" for l in lines),
                            env={**os.environ, "HOME": str(self.home)})

    def turns(self, lines, *arguments, model=None):
        run = self.script(lines, "--json", *arguments, model=model)
        self.assertEqual(run.returncode, 0, run.stderr)
        return [json.loads(line) for line in run.stdout.splitlines()]

    def generated(self, prompt, *arguments):
        run = self.succeed("generate", self.model, "--prompt", prompt, "--json", *arguments)
        return json.loads(run.stdout)

    def rendered(self, *contents, system=None):
        roles = ["user", "assistant"] * len(contents)
        messages = [("system", system)] * (system is not None) + list(zip(roles, contents))
        return "".join(f"<|im_start|>{r}\n{c}<|im_end|>\n" for r, c in messages) + "<|im_start|>assistant\n"


class Script(ChatTest):
    def test_each_answer_is_what_generate_says_to_the_rendered_conversation(self):
        said = ["In the beginning", "And then", "Who was that?"]
        for flags in ([], ["--no-speculation", "--threads", "1"]):
            turns = self.turns(said, "--max-tokens", "12", *flags)
            self.assertEqual([t["message"] for t in turns], said)
            talk = []
            for i, turn in enumerate(turns):
                talk.append(said[i])
                wanted = self.generated(self.rendered(*talk), "--max-tokens", "12")
                for key in ("tokens", "text", "finish_reason", "prompt_tokens"):
                    self.assertEqual(turn[key], wanted[key], key)
                talk.append(turn["text"])
                # What was said before is not computed again.
                self.assertEqual(turn["turn"], i + 1)
                if i > 0:
                    self.assertGreater(turn["reused_tokens"], turns[i - 1]["prompt_tokens"] - 3)

    def test_lines_are_turns_and_answers_all_that_stdout_has(self):
        turns = self.turns(["In the beginning", "", "And then"], "--max-tokens", "6")
        run = self.script(["In the beginning", "", "And then"], "--max-tokens", "6")
        self.assertEqual((run.returncode, run.stdout), (0, "".join(t["text"] + "\n" for t in turns)))
        self.assertNotIn("> ", run.stdout + run.stderr)
        self.assertEqual(list(self.home.iterdir()), [], "no history of scripts")
        self.assertEqual(self.script([]).returncode, 0)

    def test_a_backslash_goes_on_and_slashes_can_be_said(self):
        turns = self.turns(["one\\", "two", "//help\\\\", "end\\"], "--max-tokens", "1")
        self.assertEqual([t["message"] for t in turns], ["one\ntwo", "/help\\", "end\n"])

    def test_settings_are_those_of_generate(self):
        flags = ["--max-tokens", "8", "--temperature", "1.2", "--top-k", "40", "--seed", "5"]
        wanted = self.generated(self.rendered("Go", system="Be brief."), *flags)["tokens"]
        self.assertEqual(self.turns(["Go"], "--system", "Be brief.", *flags)[0]["tokens"], wanted)
        said = ["/system Be brief.", "/temp 1.2", "/seed 5", "Go", "/reset", "Go", "/reset", "/top-p 0.4", "Go"]
        turns = self.turns(said, "--max-tokens", "8", "--top-k", "40")
        narrow = self.generated(self.rendered("Go", system="Be brief."), *flags, "--top-p", "0.4")["tokens"]
        self.assertEqual([t["tokens"] for t in turns], [wanted, wanted, narrow])
        self.assertNotEqual(wanted, narrow)
        said = ["/system Be brief.", "/system", "Go"]
        self.assertEqual(self.turns(said, *flags)[0]["tokens"], self.generated(self.rendered("Go"), *flags)["tokens"])
        stop = self.turns(["In the beginning"], "--max-tokens", "30")[0]["text"].split()[2]
        turn = self.turns(["In the beginning"], "--max-tokens", "30", "--stop", stop)[0]
        self.assertEqual(turn["finish_reason"], "stop")
        self.assertNotIn(stop, turn["text"])

    def test_retry_takes_the_next_seed_in_place_of_the_answer(self):
        flags = ["--max-tokens", "10", "--temperature", "1.5"]
        turns = self.turns(["Go", "/retry", "/regenerate", "/save " + str(self.dir / "t.json")], *flags)
        self.assertEqual([t["seed"] for t in turns], [0, 1, 2])
        for turn in turns:
            self.assertEqual(turn["tokens"],
                             self.generated(self.rendered("Go"), *flags, "--seed", turn["seed"])["tokens"])
        saved = json.loads((self.dir / "t.json").read_text())
        self.assertEqual(saved["messages"], [{"role": "user", "content": "Go"},
                                             {"role": "assistant", "content": turns[-1]["text"]}])

    def test_a_saved_conversation_goes_on_where_it_was(self):
        kept = self.dir / "kept.json"
        whole = self.turns(["/system S", "One", f"/save {kept}", "Two"], "--max-tokens", "5")
        self.assertEqual(stat.S_IMODE(kept.stat().st_mode), 0o600)
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), ["home", "kept.json", "model"])
        later = self.turns([f"/load {kept}", "Two"], "--max-tokens", "5")
        self.assertEqual(later[0]["tokens"], whole[1]["tokens"])
        for content, words in [("[]", "no transcript"), ('{"messages": [{"role": "user", "content": "x"}]}', "turns"),
                               ('{"messages": [{"role": "user"}]}', "content"), ("{}", "messages")]:
            kept.write_text(content)
            run = self.script([f"/load {kept}"])
            self.assertEqual(run.returncode, 2, run.stderr)
            self.assertIn(words, run.stderr)

    def test_mistakes_end_a_script(self):
        for line, words in [("/nope", "no command /nope"), ("/temp hot", "/temp takes a number"),
                            ("/temp -1", "temperature"), ("/top-p 0", "top_p"), ("/seed x", "whole number"),
                            ("/exit now", "nothing after it"), ("/save", "name of a file"), ("/retry", "no message")]:
            run = self.script(["Hello", line, "Never said"] if line != "/retry" else [line], "--max-tokens", "2")
            self.assertEqual(run.returncode, 2, (line, run.stderr))
            self.assertIn(words, run.stderr)
            self.assertLessEqual(len(run.stdout.splitlines()), 1)
        self.assertEqual(self.script([f"/save {self.dir}/no/where"]).returncode, 4)
        self.fail_with(2, "usage", "chat", self.model, "--temperature", "-1", stdin=subprocess.DEVNULL)
        bare = shutil.copy(TINY, self.dir)
        self.fail_with(2, "usage", "chat", bare, stdin=subprocess.DEVNULL)
        self.assertEqual(self.script(["/exit", "Never said"]).stdout, "")

    def test_the_folders_end_of_text_ends_an_answer(self):
        whole = self.turns(["In the beginning"], "--max-tokens", "30")[0]["text"]
        end = whole.split()[2]
        (self.folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": end}))
        turn = self.turns(["In the beginning"], "--max-tokens", "30")[0]
        self.assertEqual((turn["text"], turn["finish_reason"]), (whole[:whole.index(end)], "stop"))

    def test_a_line_without_end_is_bounded(self):
        run = subprocess.run([PROGRAM, "chat", self.model], input=b"x" * (17 << 20), stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        self.assertEqual(run.returncode, 3)
        self.assertIn(b"too long", run.stderr)

    def test_without_a_template_the_text_goes_on(self):
        (self.folder / "chat_template.jinja").unlink()
        turns = self.turns(["In the beginning", "And then"], "--max-tokens", "8")
        first = self.generated("In the beginning", "--max-tokens", "8")
        self.assertEqual(turns[0]["tokens"], first["tokens"])
        wanted = self.generated("In the beginning" + first["text"] + "\nAnd then", "--max-tokens", "8")
        self.assertEqual(turns[1]["tokens"], wanted["tokens"])
        run = self.script(["a", "b"], "--max-tokens", "1")
        self.assertEqual(run.stderr.count("no chat template"), 1)

    def test_a_template_that_refuses_is_heard(self):
        (self.folder / "chat_template.jinja").write_text("{{ raise_exception('only kings may speak') }}")
        run = self.script(["Hello"])
        self.assertEqual(run.returncode, 2)
        self.assertIn("only kings may speak", run.stderr)

    def test_a_full_context_drops_the_oldest_turns(self):
        said = [f"Line {i} of a long story" for i in range(6)]
        turns = self.turns(said, "--max-tokens", "10", "--max-context", "130")
        self.assertGreater(sum(t["dropped_turns"] for t in turns), 0)
        self.assertEqual(turns[0]["dropped_turns"], 0)
        dropped = sum(t["dropped_turns"] for t in turns)
        talk = [x for t in turns[dropped:-1] for x in (t["message"], t["text"])] + [said[-1]]
        self.assertEqual(turns[-1]["tokens"], self.generated(self.rendered(*talk), "--max-tokens", "10")["tokens"])
        for t in turns:
            self.assertLessEqual(t["prompt_tokens"] + len(t["tokens"]), 130)
        run = self.script(said, "--max-tokens", "10", "--max-context", "130")
        self.assertIn("no longer sees the oldest turn", run.stderr.replace("1 turn", "turn"))
        run = self.script(["word " * 200], "--max-context", "130")
        self.assertEqual(run.returncode, 3)
        self.assertIn("does not fit the context", run.stderr)
        cut = self.turns(["Go on"], "--max-tokens", "200", "--max-context", "64")[0]
        self.assertEqual(cut["finish_reason"], "context")
        self.assertEqual(cut["prompt_tokens"] + len(cut["tokens"]), 64)

    def test_learned_positions_slide_as_the_source_does(self):
        long = "In the beginning " * 100
        flags = ["--max-tokens", "5"]
        self.assertEqual(self.turns([long], *flags)[0]["tokens"],
                         self.generated(self.rendered(long.rstrip("\n")), *flags)["tokens"])
        self.assertIn("256 positions of the model are full", self.script([long], *flags).stderr)

    def test_input_that_is_not_utf8(self):
        run = subprocess.run([PROGRAM, "chat", self.model, "--json", "--max-tokens", "1"], input=b"a\xffb\r\n",
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        self.assertEqual(json.loads(run.stdout)["message"], "a\ufffdb")


class AtATerminal(ChatTest):
    def test_a_turn_and_the_end(self):
        answer = self.turns(["In the beginning"], "--max-tokens", "6")[0]["text"]
        t = self.terminal("--max-tokens", "6")
        t.expect("> ")
        t.type("In the beginning\r")
        said = t.expect("Cut after 6 tokens")
        self.assertIn(answer.strip().split("\n")[0], said.replace("\r", ""))
        t.expect("> ")
        t.type("/tokens\r")
        t.expect("of 256 tokens of the context")
        t.type("/nope\r")
        t.expect("no command /nope")
        t.expect("> ")
        t.type("/help\r")
        t.expect("/regenerate")
        t.expect("> ")
        t.type("\x04")
        self.assertEqual(t.end(), 0)

    def test_what_is_typed_during_an_answer_is_taken_after_it(self):
        t = self.terminal("--max-tokens", "60")
        t.expect("> ")
        t.type("In the beginning\r")
        t.expect("\n")
        t.type("/seed 7\n")
        t.type("\x04")
        t.expect("Seed 7.")
        self.assertEqual(t.end(), 0)

    def test_exit_leaves(self):
        t = self.terminal()
        t.expect("> ")
        t.type("/exit\r")
        self.assertEqual(t.end(), 0)

    def test_ctrl_c_stops_an_answer_and_keeps_the_chat(self):
        (self.folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }} {% endfor %}")
        t = self.terminal("--max-tokens", "100000")
        t.expect("> ")
        t.type("In the beginning\r")
        t.expect("positions of the model are full")  # well into the answer
        t.type("\x03")
        t.expect("Stopped.")
        t.expect("> ")
        t.type("/tokens\r")
        t.expect("in use")
        t.expect("> ")
        t.type(f"/save {self.dir}/t.json\r")
        t.expect("1 turn written")
        t.expect("> ")
        t.type("\x04")
        self.assertEqual(t.end(), 0)
        messages = json.loads((self.dir / "t.json").read_text())["messages"]
        self.assertEqual([m["role"] for m in messages], ["user", "assistant"])
        self.assertGreater(len(messages[1]["content"]), 100)

    def test_ctrl_c_at_the_prompt_clears_the_line(self):
        t = self.terminal("--max-tokens", "2", "--no-history")
        t.expect("> ")
        t.type("never said\\\r")
        t.expect("... ")
        t.type("nor this")
        t.expect("nor this")
        t.type("\x03")
        t.expect("^C")
        t.expect("> ")
        t.type("/save " + str(self.dir / "t.json") + "\r")
        t.expect("0 turns written")
        t.expect("> ")
        t.type("\x04")
        self.assertEqual(t.end(), 0)

    def test_lines_are_remembered_and_edited(self):
        t = self.terminal("--max-tokens", "1")
        t.expect("> ")
        t.type("first äö\r")
        t.expect("Cut after")
        t.expect("> ")
        t.type(" secret\r")
        t.expect("Cut after")
        t.expect("> ")
        t.type("second\r")
        t.expect("Cut after")
        t.expect("> ")
        t.type("\x04")
        self.assertEqual(t.end(), 0)
        path = self.home / ".local" / "state" / "weightbridge" / "chat_history"
        self.assertEqual(path.read_text(), "first äö\nsecond\n")
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(path.parent.stat().st_mode), 0o700)
        # The next chat goes back to both, and changes one: to its beginning, and a word before it.
        t = self.terminal("--max-tokens", "1")
        t.expect("> ")
        t.type("\x1b[A\x1b[A\x01the \r")
        t.expect("Cut after")
        t.expect("> ")
        t.type(f"/save {self.dir}/t.json\r")
        t.expect("1 turn written")
        t.type("\x04")
        self.assertEqual(t.end(), 0)
        saved = json.loads((self.dir / "t.json").read_text())
        self.assertEqual(saved["messages"][0]["content"], "the first äö")

    def test_history_stays_where_it_is_told_to(self):
        state = self.dir / "state"
        t = self.terminal("--max-tokens", "1", "--no-history", XDG_STATE_HOME=str(state))
        t.expect("> ")
        t.type("unseen\r")
        t.expect("> ")
        t.type("\x04")
        self.assertEqual(t.end(), 0)
        self.assertFalse(state.exists())
        state.mkdir()
        (state / "weightbridge").mkdir()
        path = state / "weightbridge" / "chat_history"
        path.write_text("".join(f"line {i}\n" for i in range(2500)))
        with open(path, "ab") as f:
            f.write(b"not UTF-8: \xff\n")
        path.chmod(0o644)
        t = self.terminal("--max-tokens", "1", XDG_STATE_HOME=str(state))
        t.expect("> ")
        t.type("\x1b[A")
        t.expect("not UTF-8: \ufffd")
        t.type("\x1b[A\x1b[A\x01\x0b/seed 1\r")
        t.expect("Seed 1.")
        t.type("\x04")
        self.assertEqual(t.end(), 0)
        lines = path.read_text().splitlines()
        self.assertEqual((len(lines), lines[0], lines[-1]), (1001, "line 1501", "/seed 1"))
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(list(self.home.iterdir()), [])

    def test_a_history_that_cannot_be_kept_is_said_once(self):
        (self.home / ".local").write_text("a file")
        t = self.terminal("--max-tokens", "1")
        t.expect("> ")
        t.type("/seed 1\r")
        t.expect("history of lines is not kept")
        t.expect("> ")
        t.type("/seed 2\r")
        self.assertNotIn("not kept", t.expect("Seed 2."))
        t.type("\x04")
        self.assertEqual(t.end(), 0)

    def test_a_signal_to_leave_leaves_the_terminal_as_it_was(self):
        for which in (signal.SIGTERM, signal.SIGHUP):
            for saying in (False, True):
                t = self.terminal("--max-tokens", "100000")
                t.expect("> ")
                if saying:
                    t.type("In the beginning\r")
                    t.expect("positions of the model are full")
                t.process.send_signal(which)
                while t.read(SLOW):
                    pass
                self.assertEqual(t.process.wait(SLOW), 4)
                local = termios.tcgetattr(t.lead)[3]
                self.assertTrue(local & termios.ECHO and local & termios.ICANON)

    def test_a_terminal_that_edits_nothing(self):
        for environment in ({"TERM": "dumb"}, {"TERM": ""}):
            t = self.terminal("--max-tokens", "2", **environment)
            t.expect("> ")
            t.type("Hello\n")
            t.expect("Cut after 2 tokens")
            t.expect("> ")
            t.type("half")
            t.type("\x03")
            t.expect("> ")
            t.type("/exit\n")
            self.assertEqual(t.end(), 0)
            self.assertNotIn("\x1b", t.written)

    def test_colour_only_where_it_is_wanted(self):
        for environment, styled in (({}, True), ({"NO_COLOR": "1"}, False)):
            t = self.terminal(**environment)
            t.expect("> ")
            t.type("\x04")
            self.assertEqual(t.end(), 0)
            self.assertEqual(re.search(r"\x1b\[[0-9;]*[1-9]m", t.written) is not None, styled, t.written)

    def test_narrow_terminals(self):
        t = self.terminal(columns=20)
        t.expect("> ")
        t.type("/help\r")
        t.expect("the line\r\n")
        for line in re.split(r"[\r\n]+", without_escapes(t.written)):
            self.assertLessEqual(len(line), 24, line)  # no word is broken
        t.type("\x04")
        self.assertEqual(t.end(), 0)

    def test_nothing_of_a_model_reaches_the_terminal_raw(self):
        (self.folder / "chat_template.jinja").write_text("{{ raise_exception('\x1b[31mred\x07') }}")
        t = self.terminal(NO_COLOR="1")
        t.expect("> ")
        t.type("Hello\r")
        t.expect("\\x1b[31mred\\x07")
        t.type("\x04")
        self.assertEqual(t.end(), 0)
        self.assertNotIn("\x07", t.written)

    def test_nor_does_what_it_answers(self):
        (self.folder / "chat_template.jinja").unlink()
        path = self.folder / "tokenizer.json"
        tokenizer = json.loads(path.read_text())
        vocab = tokenizer["model"]["vocab"]
        escape, the = "\u011b", "\u0120the"  # how byte 0x1b and " the" are spelt
        vocab[escape], vocab[the] = vocab[the], vocab[escape]
        path.write_text(json.dumps(tokenizer))
        answer = self.turns(["In the beginning"], "--max-tokens", "30", model=self.model)[0]["text"]
        self.assertIn("\x1b", answer)
        run = self.script(["In the beginning"], "--max-tokens", "30")
        self.assertNotIn("\x1b", run.stdout)
        self.assertIn("\\x1b", run.stdout)


if __name__ == "__main__":
    unittest.main()
