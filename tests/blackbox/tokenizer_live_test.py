"""A megabyte of mixed text through our tokenizer and through two published ones, in the same run:
the same ids, the same text back, and at least their speed. GPT-2's vocabulary under GPT-2's and
DeepSeek's rules for cutting words. Arguments: our encoder. Needs node and npm."""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["WB_SOURCE_DIR"])
WORK = os.environ["WB_TOKENIZER_WORK"]
SANITIZED = os.environ.get("WB_SANITIZED") == "1"
ENCODER = sys.argv.pop(1)
FIXTURES = SOURCE / "tests/fixtures/tokenizer"


def peers(*arguments):
    run = subprocess.run([SOURCE / "tests/tokenizer_live/run.sh", WORK, *map(str, arguments)],
                         capture_output=True, text=True)
    if run.returncode == 77:
        print(run.stderr)
        sys.exit(77)
    assert run.returncode == 0, run.stderr
    return run.stdout


def mixed_text(size, seed):
    """Prose, code, emoji, CJK, runs of blanks, digits, and bytes that are not UTF-8."""
    rng = random.Random(seed)
    prose = (SOURCE / "samples/tiny/text.txt").read_bytes()
    code = b"".join(p.read_bytes() for p in sorted((SOURCE / "src").glob("*/*.cpp"))[:20])

    def cut(source):
        at = rng.randrange(len(source) - 2000)
        return source[at:at + rng.randrange(50, 2000)]

    def characters(*ranges):
        return "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(1, 60))).encode()

    kinds = [
        lambda: cut(prose), lambda: cut(prose), lambda: cut(code),
        lambda: characters((0x1F300, 0x1F650), (0x1F900, 0x1F9FF), (0x200D, 0x200E), (0xFE0F, 0xFE10)),
        lambda: characters((0x4E00, 0x9FA5), (0x3040, 0x30FF), (0xAC00, 0xD7A3)),
        lambda: characters((0x0410, 0x044F), (0x0391, 0x03C9), (0x0600, 0x06FF), (0x0900, 0x097F)),
        lambda: "".join(rng.choice(" \t\n\r\u00a0\u3000\u2009") for _ in range(rng.randrange(1, 40))).encode(),
        lambda: str(rng.randrange(10 ** rng.randrange(1, 20))).encode() + b" ",
        lambda: b"don't they'll WE'VE it's " + rng.choice([b"!?", b"...", b"--", b"()[]{}", b"<|endoftext|>"]),
        lambda: bytes(rng.randrange(256) for _ in range(rng.randrange(1, 12))),
    ]
    out = b""
    while len(out) < size:
        out += rng.choice(kinds)()
    return out


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        cls.addClassCleanup(cls.folder.cleanup)
        cls.text = cls.dir / "text"
        cls.text.write_bytes(mixed_text(1 << 20, 11))
        cls.gpt2 = cls.dir / "gpt2.json"
        peers("vocabulary", cls.gpt2)

    def ours(self, special, tokenizer, text):
        ids, back = self.dir / "ours", self.dir / "back"
        run = subprocess.run([ENCODER, special, tokenizer, text, ids, back], capture_output=True, text=True, check=True)
        whole = text.read_bytes().decode("utf-8", "replace").encode()
        self.assertEqual(back.read_bytes(), whole, "the text does not come back")
        return ids.read_bytes(), json.loads(run.stdout)["seconds"]

    def theirs(self, peer, tokenizer, text):
        ids = self.dir / "theirs"
        return_ = json.loads(peers("encode", peer, tokenizer, text, ids))
        return ids.read_bytes(), return_["seconds"]

    def compare(self, peer, tokenizer, text):
        # gpt-tokenizer reads special tokens as text, allowed or not.
        special = "plain" if peer == "gpt-tokenizer" else "special"
        ours, our_seconds = self.ours(special, tokenizer, text)
        theirs, their_seconds = self.theirs(peer, tokenizer, text)
        print(f"{peer}: {len(ours) // 4} ids; ours {our_seconds:.3f} s, theirs {their_seconds:.3f} s")
        self.assertEqual(len(ours), len(theirs))
        self.assertTrue(ours == theirs, "other ids")
        if not SANITIZED:
            self.assertLessEqual(our_seconds, their_seconds)

    def test_gpt_tokenizer(self):
        self.compare("gpt-tokenizer", self.gpt2, self.text)

    def test_hugging_face(self):
        self.compare("huggingface", self.gpt2, self.text)

    def test_hugging_face_with_deepseeks_rules(self):
        for name in ["deepseek_v3", "deepseek_v2"]:
            tokenizer = self.dir / f"{name}.json"
            peers("vocabulary", tokenizer, FIXTURES / f"{name}.json")
            with self.subTest(name):
                self.compare("huggingface", tokenizer, self.text if name == "deepseek_v3" else self.ascii_digits())

    def ascii_digits(self):
        """The text without digits beyond 0 to 9: the step Digits of Hugging Face's Rust library, which
        we follow, parts those too; the JavaScript one sees in them no digits."""
        text = self.dir / "ascii_digits"
        text.write_text("".join(c for c in self.text.read_bytes().decode("utf-8", "replace")
                                if c.isascii() or not c.isnumeric()), newline="")
        return text


if __name__ == "__main__":
    unittest.main()
