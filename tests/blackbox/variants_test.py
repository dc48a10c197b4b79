"""Checkpoints of the reference layout in many forms, each made with PyTorch, converted to
exact and shape-match by the program, and compared byte for byte by scripts that make the
expected tensors with torch. One test per form; the reference size is one of them.

Needs python3-torch (tests/blackbox.cmake skips it loudly where that is missing)."""
import json
import shutil
import subprocess
import sys
import unittest

from program import SOURCE_DIR, ProgramTest

MAKE = SOURCE_DIR / "tools" / "make_reference_checkpoint.py"
HERE = SOURCE_DIR / "tests" / "blackbox"
SMALL = ["--layers", "2", "--hidden", "48", "--heads", "4", "--vocab", "97", "--block-size", "16",
         "--kv-rank", "20", "--q-rank", "28", "--rope-dim", "6", "--experts", "3", "--routed", "24",
         "--shared", "40"]


class Conversion(ProgramTest):
    def run_script(self, *command):
        run = subprocess.run([sys.executable, *map(str, command)], encoding="utf-8",
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(run.returncode, 0, run.stdout)

    def make(self, *flags):
        path = self.dir / "checkpoint.pt"
        self.run_script(MAKE, "-o", path, *flags)
        return path

    def convert_and_check(self, path, target, *flags, check=()):
        out = self.dir / target
        document = self.document("convert", path, "-o", out, "--target", target, "--no-sync", *flags)
        script = {"exact": "exact_check.py", "shape-match": "shape_match_check.py"}[target]
        self.run_script(HERE / script, path, out, *check)
        self.assertEqual(len(document["losses"]), 11 if target == "shape-match" else 0)
        shutil.rmtree(out)
        return document

    def both(self, *flags, recipe_flags=()):
        path = self.make(*SMALL, *flags)
        for target in ("exact", "shape-match"):
            self.convert_and_check(path, target, *recipe_flags)
        return path

class ReferenceSize(Conversion):
    def test_reference_size(self):
        path = self.make()
        inspected = self.document("inspect", path)
        self.assertEqual(inspected["entries"], 638)
        self.assertEqual(inspected["recipe"], "deepseek-from-scratch")
        text = self.succeed("inspect", path).stdout
        self.assertIn("638 entries", text)
        self.assertIn("deepseek-from-scratch", text)
        self.assertIn("291 mapped, 45.6 %, 16 made up, 540.0 MiB",
                      self.succeed("plan", path, "--target", "shape-match").stdout)
        sums = self.convert_and_check(path, "shape-match")["sums"]
        self.assertEqual((sums["mapped"], sums["made_up"], sums["tensors"]), (291, 16, 139))
        self.assertAlmostEqual(sums["tensor_bytes"] / 2**20, 539.98, delta=0.01)
        sums = self.convert_and_check(path, "exact")["sums"]
        self.assertAlmostEqual(sums["tensor_bytes"] / 2**20, 354, delta=1)


class Variants(Conversion):
    def test_small(self):
        self.both()

    def test_other_heads_ranks_and_rope_widths(self):
        path = self.make("--layers", "3", "--hidden", "96", "--heads", "2", "--vocab", "50",
                         "--block-size", "8", "--kv-rank", "7", "--q-rank", "11", "--rope-dim", "2",
                         "--experts", "5", "--routed", "32", "--shared", "16")
        for target in ("exact", "shape-match"):
            self.convert_and_check(path, target)

    def test_no_biases(self):
        path = self.make(*SMALL, "--no-bias")
        self.convert_and_check(path, "exact")
        out = self.dir / "out"
        # Without biases there is one loss less to speak of, or it concerns no tensor.
        document = self.document("convert", path, "-o", out, "--target", "shape-match", "--no-sync")
        self.assertFalse([t for loss in document["losses"] for t in loss["tensors"]
                          if t.endswith(".bias")])
        self.run_script(HERE / "shape_match_check.py", path, out)

    def test_no_shared_expert(self):
        self.both("--shared", "0")

    def test_two_multi_token_heads(self):
        path = self.both("--mtp", "2")
        out = self.dir / "kept"
        self.succeed("convert", path, "-o", out, "--target", "exact", "--mtp", "keep", "--no-sync")
        self.assertTrue((out / "mtp.safetensors").exists())
        self.run_script(HERE / "exact_check.py", path, out, "--keep-mtp")

    def test_no_multi_token_head(self):
        self.both("--mtp", "0")

    def test_bf16(self):
        path = self.both("--dtype", "bf16")
        self.convert_and_check(path, "exact", "--dtype", "f32", check=("--dtype", "f32"))

    def test_rounded_to_bf16_and_f16(self):
        path = self.make(*SMALL)
        for dtype in ("bf16", "f16"):
            for target in ("exact", "shape-match"):
                self.convert_and_check(path, target, "--dtype", dtype, check=("--dtype", dtype))

    def test_nested_with_a_compiled_prefix(self):
        path = self.both("--nest", "model_state_dict", "--prefix", "_orig_mod.")
        document = self.document("inspect", path)
        self.assertEqual(document["prefix"], "model_state_dict._orig_mod.")

    def test_beside_an_optimizer(self):
        path = self.both("--optimizer")
        account = self.document("plan", path)["account"]
        self.assertTrue(any(line["fate"] == "outside" for line in account))

    def test_legacy_format(self):
        path = self.both("--legacy")
        self.assertIn("legacy", self.document("inspect", path)["container"])

    def test_untied_embeddings(self):
        path = self.both("--untie")
        self.assertEqual(self.document("inspect", path)["tied"], [])

    def test_a_setting_reaches_the_config(self):
        path = self.make(*SMALL)
        for target in ("exact", "shape-match"):
            out = self.dir / "set"
            self.succeed("convert", path, "-o", out, "--target", target, "--no-sync", "--force",
                         "--set", "experts_per_token=3")
            config = json.loads((out / "config.json").read_text())
            self.assertEqual(config["num_experts_per_tok"], 3)

    def test_more_experts_per_token_than_experts(self):
        path = self.make(*SMALL)
        error = self.fail_with(2, "setting_invalid", "plan", path, "--set", "experts_per_token=4")
        self.assertIn("4", error["sentence"])

    def test_smart_expert_widths(self):
        path = self.make(*SMALL)
        plain = self.document("plan", path, "--target", "shape-match")
        smart = self.document("plan", path, "--target", "shape-match", "--expert-widths", "smart")
        self.assertLess(smart["sums"]["tensor_bytes"], plain["sums"]["tensor_bytes"])

    def test_shards(self):
        path = self.make(*SMALL)
        out = self.dir / "shards"
        self.succeed("convert", path, "-o", out, "--target", "exact", "--no-sync", "--shard-size",
                     "40kB")
        shards = sorted(p.name for p in out.glob("model-*.safetensors"))
        self.assertGreater(len(shards), 1)
        index = json.loads((out / "model.safetensors.index.json").read_text())
        self.assertEqual(sorted(set(index["weight_map"].values())), shards)
        self.run_script(HERE / "exact_check.py", path, out)

    def test_a_changed_byte_is_found(self):
        path = self.make(*SMALL)
        blob = bytearray(path.read_bytes())
        blob[len(blob) // 2] ^= 1  # in the middle of the weights
        path.write_bytes(blob)
        self.fail_with(3, "zip_crc", "convert", path, "-o", self.dir / "out")
        self.assertEqual([p.name for p in self.dir.iterdir()], ["checkpoint.pt"])
        self.succeed("convert", path, "-o", self.dir / "out", "--no-crc")


if __name__ == "__main__":
    unittest.main(verbosity=1)
