"""The same input makes the same bytes, whatever the number of threads, the instruction set, the
order that files come in, the place and the surroundings. Compares SHA-256 of every file."""
import hashlib
import json
import os
import shutil
import sys
import unittest

from faults import SMALL
from program import ProgramTest, TINY, weightbridge
from resume_test import layout, write_shards

TARGETS = {
    "exact": ("--target", "exact"),
    "exact bf16": ("--target", "exact", "--dtype", "bf16", "--mtp", "keep"),
    "shape-match": ("--target", "shape-match"),
    "affine 4": ("--bits", 4, "--group-size", 32),
    "affine 3": ("--bits", 3, "--group-size", 64),
    "mxfp4": ("--mode", "mxfp4"),
    "mxfp8": ("--mode", "mxfp8"),
    "nvfp4": ("--mode", "nvfp4"),
    "mixed": ("--mix", "mixed_3_6", "--group-size", 32),
    "auto": ("--bits", "auto", "--group-size", 32, "--size", "3MB"),
}
SMALL_TARGETS = {name: TARGETS[name] for name in ("exact", "shape-match", "affine 4", "mxfp4")}


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def instruction_sets():
    """Those of this processor, as the program names them when it is asked for one that is none."""
    run = weightbridge("inspect", TINY, "--json", env=dict(os.environ, WEIGHTBRIDGE_SIMD="none"))
    assert run.returncode == 2, run.stdout + run.stderr
    return json.loads(run.stdout)["error"]["expected"].removeprefix("one of ").split(", ")


class Determinism(ProgramTest):
    def converted(self, source, options, *more, **environment):
        out = self.dir / "out"
        run = weightbridge("convert", source, "-o", out, "--no-sync", "--shard-size", "2MB", *options, *more,
                           env=dict(os.environ, **environment))
        self.assertEqual(run.returncode, 0, run.stderr)
        found = hashes(out)
        shutil.rmtree(out)
        return found

    def test_threads(self):
        for name, options in TARGETS.items():
            one = self.converted(TINY, options, "--threads", 1)
            for threads in (2, 3, 8):
                with self.subTest(name, threads=threads):
                    self.assertEqual(self.converted(TINY, options, "--threads", threads), one)

    def test_instruction_sets(self):
        sets = instruction_sets()
        self.assertGreater(len(sets), 1, sets)
        for name, options in TARGETS.items():
            if name == "auto":  # chooses by what a model computes in floats: the choice may differ
                continue
            best = self.converted(TINY, options)
            for other in sets:
                with self.subTest(name, set=other):
                    self.assertEqual(self.converted(TINY, options, WEIGHTBRIDGE_SIMD=other), best)

    def test_surroundings(self):
        for name, options in SMALL_TARGETS.items():
            plain = self.converted(TINY, options)
            with self.subTest(name):
                self.assertEqual(self.converted(TINY, options, LC_ALL="tr_TR.UTF-8", TZ="Asia/Kolkata",
                                                TMPDIR=str(self.dir), HOME="/", COLUMNS="40"), plain)
                copy = self.dir / "elsewhere" / TINY.name
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(TINY, copy)
                os.utime(copy, (0, 0))
                for beside in ("tokenizer.json",):
                    shutil.copyfile(TINY.parent / beside, copy.parent / beside)
                self.assertEqual(self.converted(copy, options), plain)

    def test_order_of_files(self):
        """Shards listed the other way round in the index, and laid into the directory in another order."""
        source = self.dir / "first" / "source"
        source.parent.mkdir()
        write_shards(source, layout(SMALL), 5)
        other = self.dir / "second" / "source"
        other.mkdir(parents=True)
        index = "model.safetensors.index.json"
        for path in sorted(source.iterdir(), reverse=True):
            if path.name != index:
                shutil.copyfile(path, other / path.name)
        shutil.copyfile(source / index, other / index)
        weights = json.loads((source / index).read_text())["weight_map"]
        for name, options in SMALL_TARGETS.items():
            with self.subTest(name):
                ours = self.converted(source, options)
                shutil.copyfile(source / index, other / index)
                self.assertEqual(self.converted(other, options), ours)
                # The index is a source file too: its own fingerprint, and nothing else, is another.
                (other / index).write_text(json.dumps({"weight_map": dict(reversed(weights.items()))}))
                theirs = self.converted(other, options)
                self.assertNotEqual(ours.pop("weightbridge.json"), theirs.pop("weightbridge.json"))
                self.assertEqual(theirs, ours)

    def test_a_set_that_is_none_is_refused(self):
        run = weightbridge("inspect", TINY, env=dict(os.environ, WEIGHTBRIDGE_SIMD="MMX"))
        self.assertEqual(run.returncode, 2)
        self.assertIn("the instruction set is none of this processor", run.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *(sys.argv[1:] or [])])
