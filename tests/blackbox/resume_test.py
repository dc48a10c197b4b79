"""Conversions that are cut off: SIGKILL at random moments and --resume, --consume, and ranks
under mpirun. The bytes in the end are those of an undisturbed run. Needs numpy."""
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import unittest

import numpy as np

from program import PROGRAM, ProgramTest, SANITIZED, weightbridge

SIZES = dict(vocab=2048, block=64, layers=6, hidden=256, heads=4, kv=64, q=96, rope=32, experts=4,
             routed=384, shared=512)


def layout(s):
    """name -> shape of the reference layout (without multi-token heads)."""
    d, h = s["hidden"], s["heads"]
    out = {"wte.weight": (s["vocab"], d), "wpe.weight": (s["block"], d), "ln_f.weight": (d,)}
    for l in range(s["layers"]):
        at = f"h.{l}."
        out.update({
            at + "ln_1.weight": (d,), at + "ln_2.weight": (d,),
            at + "attn.kv_proj.weight": (s["kv"], d), at + "attn.kv_norm.weight": (s["kv"],),
            at + "attn.k_decompress.weight": (d, s["kv"]), at + "attn.v_decompress.weight": (d, s["kv"]),
            at + "attn.q_proj.weight": (s["q"], d), at + "attn.q_decompress.weight": (d, s["q"]),
            at + "attn.k_rope_proj.weight": (h * s["rope"], d),
            at + "attn.q_rope_proj.weight": (h * s["rope"], s["q"]),
            at + "attn.o_proj.weight": (d, d), at + "attn.rope.inv_freq": (s["rope"] // 2,),
            at + "mlp.router.weight": (s["experts"], d), at + "mlp.expert_bias": (s["experts"],)})
        for e in range(s["experts"]):
            x = f"{at}mlp.experts.{e}."
            out.update({x + "gate_proj.weight": (s["routed"], d), x + "up_proj.weight": (s["routed"], d),
                        x + "down_proj.weight": (d, s["routed"])})
        x = at + "mlp.shared_expert."
        out.update({x + "gate_proj.weight": (s["shared"], d), x + "up_proj.weight": (s["shared"], d),
                    x + "down_proj.weight": (d, s["shared"])})
    return out


def write_shards(folder, tensors, count):
    """Random f32 weights in `count` shards with an index, in the order of layers."""
    folder.mkdir()
    rng, weight_map = np.random.default_rng(1), {}
    # The recipe reads the frequencies to check them: they stand together, in the last shard.
    names = sorted(tensors, key=lambda name: name.endswith("inv_freq"))
    for i in range(count):
        part = names[len(names) * i // count:len(names) * (i + 1) // count]
        file, header, data = f"model-{i + 1:05d}-of-{count:05d}.safetensors", {}, []
        at = 0
        for name in part:
            value = rng.standard_normal(tensors[name]).astype(np.float32)
            if name.endswith("inv_freq"):
                n = tensors[name][0]
                value = (10000.0 ** (-np.arange(n) / n)).astype(np.float32)
            header[name] = {"dtype": "F32", "shape": list(tensors[name]), "data_offsets": [at, at + value.nbytes]}
            at += value.nbytes
            data.append(value.tobytes())
            weight_map[name] = file
        text = json.dumps(header).encode()
        (folder / file).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def bytes_of(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


class Interrupted(ProgramTest):
    ROUNDS = 6 if SANITIZED else 20

    def setUp(self):
        super().setUp()
        self.source = self.dir / "source"
        write_shards(self.source, layout(SIZES), 9)
        self.options = ("--target", "exact", "--shard-size", "4MB", "--sha256", "--threads", 1)
        start = time.monotonic()
        self.convert("whole", "--no-sync")
        self.seconds = time.monotonic() - start
        self.whole = bytes_of(self.dir / "whole")
        self.assertGreater(len([n for n in self.whole if n.startswith("model-")]), 5)

    def arguments(self, out, *more, source=None):
        return ("convert", source or self.source, "-o", self.dir / out, *self.options, *more)

    def convert(self, out, *more, **given):
        return self.succeed(*self.arguments(out, *more, **given))

    def left_beside(self):
        return sorted(p.name for p in self.dir.iterdir() if p.name.startswith("."))

    def kill(self, seconds, *arguments):
        process = subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def test_killed_at_random_moments_and_resumed(self):
        rng, resumed = random.Random(7), 0
        for i in range(self.ROUNDS):
            out = f"out{i}"
            while True:  # killed again and again until a run gets through before its end comes
                self.kill(rng.uniform(0.3, 1.1) * self.seconds, *self.arguments(out, "--resume", "--no-sync"))
                if (self.dir / out).exists() or rng.random() < 0.5:
                    break
            if (self.dir / out).exists():  # never half: it is there in full, or not at all
                self.assertEqual(bytes_of(self.dir / out), self.whole)
                continue
            run = weightbridge(*self.arguments(out, "--resume", "--no-sync", "--json"))
            self.assertEqual(run.returncode, 0, run.stderr)
            resumed += json.loads(run.stdout)["resumed"]
            self.assertEqual(bytes_of(self.dir / out), self.whole)
            self.assertEqual(self.left_beside(), [])
        self.assertGreater(resumed, 0, "no round was cut off after its first file")

    def cut_off(self, out, *more, files=3, **given):
        """A run that ends when it has written a few files, kept for --resume."""
        process = subprocess.Popen([PROGRAM, *map(str, self.arguments(out, *more, **given))],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            journals = [j for f in self.dir.glob(f".{out}.weightbridge-partial-*")
                        for j in f.glob("weightbridge.journal.0")]
            if any(j.read_bytes().count(b'"file"') >= files for j in journals):
                process.send_signal(signal.SIGSTOP)
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
        process.wait()
        self.assertFalse((self.dir / out).exists(), "it was too fast to be cut off")
        (partial,) = self.dir.glob(f".{out}.weightbridge-partial-*")
        return partial

    def test_a_file_that_was_changed_in_between_is_written_again(self):
        partial = self.cut_off("out", "--resume", "--no-sync")
        done = [json.loads(line)["name"] for line in (partial / "weightbridge.journal.0").read_text().split("\n")[1:]
                if '"file"' in line]
        with open(partial / done[0], "r+b") as f:
            f.seek(-1, os.SEEK_END)
            byte = f.read(1)
            f.seek(-1, os.SEEK_END)
            f.write(bytes([byte[0] ^ 1]))
        run = json.loads(self.convert("out", "--resume", "--no-sync", "--json").stdout)
        self.assertEqual(run["resumed"], len(done) - 1)
        self.assertEqual(bytes_of(self.dir / "out"), self.whole)

    def test_without_resume_it_begins_anew_and_other_options_do_not_mix(self):
        self.cut_off("out", "--resume", "--no-sync")
        run = json.loads(self.convert("out", "--resume", "--no-sync", "--dtype", "bf16", "--json").stdout)
        self.assertEqual(run["resumed"], 0)
        shutil.rmtree(self.dir / "out")
        self.cut_off("out", "--resume", "--no-sync")
        self.convert("out", "--no-sync")
        self.assertEqual(bytes_of(self.dir / "out"), self.whole)
        self.assertEqual(self.left_beside(), [])

    def test_consume_deletes_what_is_used_up_and_can_be_resumed(self):
        source = self.dir / "copy" / self.source.name  # the model card has the name
        shutil.copytree(self.source, source)
        self.cut_off("out", "--consume", files=8, source=source)
        gone = sorted(p.name for p in source.glob("*.consumed"))
        self.assertTrue(gone)
        for name in gone:  # what is left takes the room of its header
            self.assertFalse((source / name[:-len(".consumed")]).exists())
            self.assertLess((source / name).stat().st_blocks * 512, 64 << 10)
        error = self.fail_with(3, "source_consumed", *self.arguments("out", source=source))
        self.assertIn("--resume", error["advice"])
        error = self.fail_with(2, "unfinished", *self.arguments("out"))
        self.assertIn("consumed source files", error["sentence"])
        error = self.fail_with(2, "unfinished", *self.arguments("out", "--resume", "--dtype", "f16"))
        self.assertIn("other options", error["sentence"])
        run = json.loads(self.convert("out", "--resume", "--consume", "--json", source=source).stdout)
        self.assertGreaterEqual(run["resumed"], 3)
        self.assertEqual(bytes_of(self.dir / "out"), self.whole)
        self.assertEqual([p.name for p in source.iterdir()], ["model.safetensors.index.json"])
        self.assertEqual(len(run["consumed"]), 9)

    def test_a_consumed_source_cannot_be_made_up(self):
        source = self.dir / "copy" / self.source.name  # the model card has the name
        shutil.copytree(self.source, source)
        partial = self.cut_off("out", "--consume", files=8, source=source)
        done = [json.loads(line)["name"] for line in (partial / "weightbridge.journal.0").read_text().split("\n")[1:]
                if '"kind":"file"' in line]
        os.truncate(partial / done[0], 100)
        self.fail_with(3, "source_consumed", *self.arguments("out", "--resume", source=source))
        self.assertTrue(partial.exists() or list(self.dir.glob(".out.weightbridge-partial-*")))

    def test_consume_is_refused_where_it_makes_no_sense(self):
        self.fail_with(2, "usage", *self.arguments("out", "--consume", "--no-sync"))
        from program import TINY
        error = self.fail_with(2, "usage", "convert", TINY, "-o", self.dir / "out", "--consume")
        self.assertIn("several safetensors files", error["sentence"])

    def test_a_signal_after_the_end_changes_nothing(self):
        """The folder is there and the account is being printed, into a pipe that nobody empties yet."""
        read, write = os.pipe()
        os.set_blocking(write, False)
        try:
            while True:
                os.write(write, bytes(4096))
        except BlockingIOError:
            os.set_blocking(write, True)
        process = subprocess.Popen([PROGRAM, *map(str, self.arguments("out", "--no-sync"))], stdout=write,
                                   stderr=subprocess.PIPE, encoding="utf-8")
        os.close(write)
        while not (self.dir / "out").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read()
        _, errors = process.communicate()
        self.assertEqual(process.returncode, 0, errors)
        self.assertIn(b"written to", said)

    def test_an_orderly_end_keeps_what_is_done_only_when_asked(self):
        for more, kept in (((), False), (("--resume",), True)):
            process = subprocess.Popen([PROGRAM, *map(str, self.arguments("out", "--no-sync", *more))],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8")
            time.sleep(0.6 * self.seconds)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate()
            if process.returncode == 0:  # it was through already
                shutil.rmtree(self.dir / "out")
                continue
            self.assertEqual(process.returncode, 4, said)
            if "nothing was written" not in said:
                self.assertEqual(bool(self.left_beside()), kept, said)
                self.assertIn("--resume" if kept else "Nothing was left behind", said)


@unittest.skipUnless(shutil.which("mpirun"), "SKIPPED: mpirun is missing")
class Ranks(ProgramTest):
    def mpirun(self, n, *arguments):
        environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                           ASAN_OPTIONS="detect_leaks=0")  # Open MPI keeps what it has for good
        return subprocess.Popen(["mpirun", "--oversubscribe", "-n", str(n), PROGRAM, *map(str, arguments)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment)

    def setUp(self):
        super().setUp()
        write_shards(self.dir / "source", layout(SIZES), 5)
        self.arguments = ("convert", self.dir / "source", "--target", "exact", "--shard-size", "4MB", "--no-sync",
                          "--threads", 1, "-o")
        self.succeed(*self.arguments, self.dir / "whole")
        self.whole = bytes_of(self.dir / "whole")

    def test_any_number_of_ranks_writes_the_same_bytes(self):
        for n in (2, 3):
            run = self.mpirun(n, *self.arguments, self.dir / f"ranks{n}", "--json")
            out, err = run.communicate(timeout=120)
            self.assertEqual(run.returncode, 0, err)
            self.assertEqual(json.loads(out)["resumed"], 0)  # one document: the first rank speaks
            self.assertEqual(bytes_of(self.dir / f"ranks{n}"), self.whole)

    def test_plan_foretells_the_files_and_their_split(self):
        plan = self.document("plan", self.dir / "source", "--target", "exact", "--shard-size", "4MB", "--ranks", 3,
                             "--estimate")["forecast"]
        written = {n: len(b) for n, b in self.whole.items() if n.startswith("model-")}
        self.assertEqual({f["name"]: f["bytes"] for f in plan["files"]}, written)
        ranks = [f["rank"] for f in plan["files"]]
        self.assertEqual(ranks, sorted(ranks))  # each rank a run of its own
        shares = [sum(f["bytes"] for f in plan["files"] if f["rank"] == r) for r in range(3)]
        self.assertLessEqual(max(shares) - min(shares), 2 * max(written.values()))
        self.assertGreater(plan["bytes_per_second"], 0)
        self.assertAlmostEqual(plan["seconds"], sum(written.values()) / plan["bytes_per_second"])

    def test_a_rank_that_dies_leaves_what_can_be_resumed(self):
        run = self.mpirun(2, *self.arguments, self.dir / "out", "--sha256")
        killed = False
        while run.poll() is None and not killed:
            for journal in self.dir.glob(".out.weightbridge-partial-*/weightbridge.journal.1"):
                if journal.read_bytes().count(b'"file"') >= 1:
                    ranks = subprocess.run(["pgrep", "-f", f"^{PROGRAM} convert {self.dir}"], stdout=subprocess.PIPE,
                                           encoding="utf-8").stdout.split()
                    if ranks:
                        os.kill(int(ranks[-1]), signal.SIGKILL)
                        killed = True
                        break
            time.sleep(0.001)
        run.communicate(timeout=120)
        self.assertTrue(killed, "it was too fast to be killed")
        self.assertNotEqual(run.returncode, 0)
        self.assertFalse((self.dir / "out").exists())
        done = json.loads(self.succeed(*self.arguments, self.dir / "out", "--sha256", "--resume", "--json").stdout)
        self.assertGreaterEqual(done["resumed"], 1)
        ours = {n: b for n, b in bytes_of(self.dir / "out").items() if n != "weightbridge.json"}
        self.assertEqual(ours, {n: b for n, b in self.whole.items() if n != "weightbridge.json"})

    def test_consume_is_for_one_process(self):
        run = self.mpirun(2, "convert", self.dir / "source", "-o", self.dir / "out", "--consume")
        _, err = run.communicate(timeout=120)
        self.assertEqual(run.returncode, 2, err)
        self.assertIn("one process alone", err)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *(sys.argv[1:] or [])])
