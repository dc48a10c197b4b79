"""The table of bench/run_decode.sh and its place in docs/speed.md, from results made up here."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
DOCUMENT = BENCH.parent / "docs" / "speed.md"
TURNS = 3


def run(script, *arguments, **options):
    return subprocess.run([sys.executable, BENCH / script, *map(str, arguments)], encoding="utf-8",
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


class Folder(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.dir = pathlib.Path(holder.name)


class Table(Folder):
    def write(self, name, values):
        for i, value in enumerate(values):
            (self.dir / f"{name}.{i}").write_text(value if isinstance(value, str) else f"{value}\n")

    def ours(self, name, test, rates, roofline):
        rows = [[{"test": t, "tokens_per_second": r, "roofline": roofline, "part_of_roofline": r / roofline}
                 for t in test] for r in rates]
        self.write(name, [json.dumps({"results": r}) for r in rows])

    def fill(self, mlx):
        for name in ["f32", "bf16"] + [f"{d}-{b}" for d in ("f32", "bf16") for b in (2, 3, 4, 5, 6, 8)]:
            self.ours(name + ".alone", ["decode 128", "prompt 512"], [70, 90, 80], 100)
        for name in ("f32", "f32-4"):
            self.ours(name + ".at256", ["decode 64 at 256"], [60, 40, 50], 100)
            self.write(name + ".first", ["90\n80\n", "110\n", "70\n"])
            if mlx:
                self.write(name + ".mlx", [20, 10, 40])
        for way, rate in (("each", 0.5), ("groups", 5)):
            self.write(f"torch.generate.{way}", [rate] * TURNS)
            self.write(f"torch.evaluate.{way}", [rate * 40] * TURNS)

    def rows(self, mlx):
        self.fill(mlx)
        made = run("decode_table.py", self.dir, TURNS)
        self.assertEqual(made.returncode, 0, made.stderr)
        return made.stdout.splitlines()

    def row(self, rows, begin):
        found = [r for r in rows if r.startswith(begin)]
        self.assertEqual(len(found), 1, (begin, rows))
        return found[0].split()

    def test_medians_ratios_and_bars(self):
        rows = self.rows(mlx=True)
        self.assertEqual(self.row(rows, "decode 128, f32 ")[3:], ["80.0", "roofline", "100.0", "80", "%", "80", "%", "held"])
        self.assertEqual(self.row(rows, "decode at 256, f32 ")[4:],
                         ["50.0", "MLX", "20.0", "2.5", "x", "3", "x", "NOT", "held"])
        generate = [r for r in rows if "PyTorch by token" in r and r.startswith("generate")]
        self.assertIn("100.0 x", generate[0])
        self.assertEqual(self.row(rows, "f32 ")[1:], ["85.0", "held"])

    def test_without_mlx(self):
        rows = self.rows(mlx=False)
        self.assertFalse([r for r in rows if "MLX" in r])
        self.row(rows, "decode 128, f32 ")


class Block(Folder):
    def document(self, text):
        path = self.dir / "d.md"
        path.write_text(text)
        return path

    def test_only_what_is_between_the_markers_is_replaced(self):
        path = self.document("before\n<!-- t: begin, by x -->\nold\n<!-- t: end -->\nafter\n")
        for text in ("one\ntwo\n", "three"):
            self.assertEqual(run("write_block.py", path, "t", input=text).returncode, 0)
            self.assertEqual(path.read_text(), "before\n<!-- t: begin, by x -->\n```text\n" + text.rstrip()
                             + "\n```\n<!-- t: end -->\nafter\n")
        self.assertEqual([p.name for p in self.dir.iterdir()], ["d.md"])

    def test_what_is_refused(self):
        good = "<!-- t: begin -->\n<!-- t: end -->\n"
        for text, given in (("", "x"), ("<!-- t: end -->\n<!-- t: begin -->\n", "x"), (good + good, "x"),
                            ("<!-- t: begin -->\n", "x"), (good, ""), (good, "```")):
            path = self.document(text)
            made = run("write_block.py", path, "t", input=given)
            self.assertEqual(made.returncode, 1, (text, given))
            self.assertIn("write_block.py:", made.stderr)
            self.assertEqual(path.read_text(), text)

    def test_the_document_has_its_place(self):
        self.assertEqual(run("write_block.py", DOCUMENT, "decode", "--check").returncode, 0)


if __name__ == "__main__":
    unittest.main()
