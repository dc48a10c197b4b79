"""The program's commands once each, on small inputs and two threads: what valgrind and
ThreadSanitizer see of it (ctest -C Short -L short). The bytes are those of an undisturbed run."""
import json
import shutil
import sys
import unittest

from faults import SMALL
from program import ProgramTest, TINY
from resume_test import bytes_of, layout, write_shards
from server import Server


class Short(ProgramTest):
    def setUp(self):
        super().setUp()
        self.source = self.dir / "source"
        write_shards(self.source, layout(SMALL), 3)

    def convert(self, out, *more, source=None):
        self.succeed("convert", source or self.source, "-o", self.dir / out, "--threads", 2, *more)
        return self.dir / out

    def test_inspect_plan_recipes(self):
        self.succeed("inspect", TINY)
        self.succeed("inspect", self.source, "--json")
        self.succeed("plan", self.source)
        self.succeed("recipes")

    def test_convert(self):
        exact = bytes_of(self.convert("exact", "--target", "exact", "--shard-size", "100KB", "--sha256"))
        self.assertEqual(bytes_of(self.convert("again", "--target", "exact", "--shard-size", "100KB", "--sha256",
                                               "--resume")), exact)
        self.convert("cast", "--target", "exact", "--dtype", "bf16", "--no-sync")
        self.convert("shape", "--target", "shape-match", "--no-sync")
        self.convert("packed", "--bits", 4, "--group-size", 32, "--no-sync")
        self.convert("consumed", "--consume")

    def test_run(self):
        folder = self.convert("exact", "--target", "exact", "--no-sync")
        for model in (folder, self.source):
            self.succeed("generate", model, "--tokens", "1,2,3", "--max-tokens", 4, "--threads", 2)
        self.succeed("logits", folder, "--tokens", "1,2,3", "-o", self.dir / "logits.safetensors", "--threads", 2)
        packed = self.convert("packed", "--bits", 4, "--group-size", 32, "--no-sync")
        self.succeed("generate", packed, "--tokens", "1,2,3", "--max-tokens", 4, "--threads", 2)

    def test_errors(self):
        shutil.rmtree(self.source)
        self.source.mkdir()
        (self.source / "model.safetensors").write_bytes(b"\x08" + bytes(7) + b"{\"a\":{}}")
        self.fail_with(3, "safetensors_tensor", "inspect", self.source)

    def test_serve(self):
        with Server("--threads", 2) as server:
            said = server.complete(prompt="Once", max_tokens=4)
            self.assertTrue(said["choices"])
            server.stream("/v1/completions", dict(prompt="Once", max_tokens=4))
            server.ask("/metrics")
        self.assertEqual(server.process.returncode, 0, server.errors)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *(sys.argv[1:] or [])])
