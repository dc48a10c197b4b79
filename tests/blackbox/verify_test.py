"""verify through the program: the numbers that the issue of proof promises, on the trained
sample, on the PyTorch fixtures and on recipes that are wrong on purpose. Needs numpy."""
import json
import re
import shutil
import subprocess
import sys
import unittest

from program import SOURCE_DIR, TINY, ProgramTest, read_safetensors, weightbridge

SAMPLE = SOURCE_DIR / "samples" / "tiny"
GOLDEN = SAMPLE / "golden.safetensors"
FIXTURES = SOURCE_DIR / "tests" / "fixtures" / "runtime"
RECIPE = SOURCE_DIR / "recipes" / "deepseek-from-scratch.toml"


class VerifyTest(ProgramTest):
    def convert(self, source, target, *more):
        folder = self.dir / target
        self.succeed("convert", source, "-o", folder, "--target", target, "--no-sync", *more)
        return folder

    def verify(self, status, source, folder, *more):
        run = weightbridge("verify", source, folder, "--json", *more)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        return json.loads(run.stdout)


class Sample(VerifyTest):
    TEXT = ("--text", SAMPLE / "text.txt")

    def test_exact_is_exact(self):
        folder = self.convert(TINY, "exact")
        found = self.verify(0, TINY, folder, *self.TEXT, "--reference", GOLDEN)
        theirs = json.loads((SAMPLE / "golden.json").read_text())["perplexity"]
        compared = found["comparison"]
        self.assertLessEqual(compared["logits"]["mean_kl"], 1e-8)
        self.assertEqual(compared["logits"]["top1"], 1.0)
        for side in ("source", "output"):
            self.assertEqual(compared[side]["predictions"], theirs["predictions"])
            self.assertEqual(f"{compared[side]['perplexity']:.5g}", f"{theirs['value']:.5g}")
        reference = found["reference"]
        self.assertLessEqual(reference["logits"]["max_abs"], 1e-4)
        self.assertLessEqual(reference["logits"]["mean_kl"], 1e-8)
        self.assertEqual(len(reference["hidden"]), 4)
        states = reference["hidden"] + [reference["final_hidden"]] + [h["hidden"] for h in reference["mtp"]]
        for state in states:
            self.assertLessEqual(state["max_abs"], 1e-4)
        self.assertLessEqual(reference["mtp"][0]["logits"]["max_abs"], 1e-4)
        self.assertEqual(reference["mtp"][0]["logits"]["positions"], 48)

    def test_one_changed_weight_is_found_though_no_logit_shows_it(self):
        folder = self.convert(TINY, "exact")
        weights = folder / "model.safetensors"
        rows = [r for r in self.verify(0, TINY, folder, "--tokens", "1,2,3")["tensors"]
                if r["outcome"] != "only in the source"]
        self.assertEqual({r["outcome"] for r in rows}, {"equal bit for bit"})
        self.assertTrue(all(r["source"] == r["folder"] for r in rows))
        # The position table's last row is read by no sequence of three tokens.
        data = bytearray(weights.read_bytes())
        header = 8 + int.from_bytes(data[:8], "little")
        end = json.loads(data[8:header])["model.embed_positions.weight"]["data_offsets"][1]
        data[header + end - 4] ^= 0x08
        weights.write_bytes(data)
        found = self.verify(1, TINY, folder, "--tokens", "1,2,3")
        self.assertEqual(found["comparison"]["logits"]["max_abs"], 0)
        changed = [r for r in found["tensors"] if r["outcome"] == "other values"]
        self.assertEqual([r["tensors"] for r in changed], ["positions.weight"])

    def test_half_precision_is_held_to_its_own_rounding(self):
        folder = self.convert(TINY, "exact", "--dtype", "bf16")
        found = self.verify(0, TINY, folder, *self.TEXT, "--max-windows", 4)
        self.assertGreater(found["comparison"]["logits"]["max_abs"], 1e-3)  # it is not f32
        self.verify(1, TINY, folder, *self.TEXT, "--max-windows", 4, "--max-kl", "1e-9")

    def test_shape_match_fails_and_says_why(self):
        folder = self.convert(TINY, "shape-match")
        run = weightbridge("verify", TINY, folder, *self.TEXT)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertIn("NOT the same model", run.stdout)
        words = " ".join(run.stdout.split())
        for part in ("the position embedding is dropped", "rope keys are dropped", "as interleaved pairs",
                     "RMS-normalised", "the biases are dropped", "replaced by zeros"):
            self.assertIn(part, words)

    def test_stock_comes_near_on_text_it_was_not_calibrated_on(self):
        # Calibrated on the first half of the text, measured on the second.
        text = (SAMPLE / "text.txt").read_text()
        half = text.rindex("\n", 0, len(text) // 2)
        (self.dir / "a.txt").write_text(text[:half])
        (self.dir / "b.txt").write_text(text[half:])
        plain = self.convert(TINY, "stock")
        before = self.verify(1, TINY, plain, "--text", self.dir / "b.txt")
        shutil.rmtree(plain)
        folder = self.convert(TINY, "stock", "--calibrate", self.dir / "a.txt")
        after = self.verify(0, TINY, folder, "--text", self.dir / "b.txt")
        self.assertGreater(before["comparison"]["logits"]["mean_kl"], 0.1)
        self.assertLessEqual(after["comparison"]["logits"]["mean_kl"], 0.022)
        self.verify(1, TINY, folder, "--text", self.dir / "b.txt", "--max-kl", "0.001")
        self.verify(1, TINY, folder, "--text", self.dir / "b.txt", "--min-top1", "0.999")
        # mlx-lm and Swift read the same folder; Swift's class computes its router otherwise.
        swift = weightbridge("verify", TINY, folder, "--text", self.dir / "b.txt", "--as", "swift", "--json")
        self.assertIn(swift.returncode, (0, 1), swift.stdout)

    def test_each_calibration_step_is_worth_something(self):
        def kl(steps):
            folder = self.convert(TINY, "stock", "--calibrate", SAMPLE / "text.txt", "--calibrate-steps", steps)
            run = weightbridge("verify", TINY, folder, *self.TEXT, "--max-windows", 12, "--json")
            shutil.rmtree(folder)
            return json.loads(run.stdout)["comparison"]["logits"]["mean_kl"]
        steps = ["none", "biases", "biases,router", "biases,router,positions", "biases,router,positions,spare"]
        values = [kl(s) for s in steps]
        self.assertEqual(values, sorted(values, reverse=True), dict(zip(steps, values)))

    def test_logits_and_generate(self):
        folder = self.convert(TINY, "exact")
        out = self.dir / "logits.safetensors"
        self.succeed("logits", folder, "--tokens", GOLDEN, "-o", out)
        ours = read_safetensors(out)[0]["logits"]
        self.assertEqual(ours[1], [192, 4096])
        texts = [self.succeed("generate", model, "--prompt", "In the beginning", "--max-tokens", 12).stdout
                 for model in (TINY, folder)]
        self.assertEqual(texts[0], texts[1])
        self.assertGreater(len(texts[0].strip()), 5)
        self.assertEqual(weightbridge("generate", folder, "--tokens", "4096").returncode, 2)


class Reports(VerifyTest):
    def test_the_report_is_one_file_that_fits_a_phone(self):
        folder = self.convert(TINY, "shape-match")
        page = self.dir / "report.html"
        weightbridge("verify", TINY, folder, "--text", SAMPLE / "text.txt", "--max-windows", 4, "--report", page)
        text = page.read_text()
        for part in ("<b>Fails.</b>", "What is lost, in words", "The account of tensors", "<svg"):
            self.assertIn(part, text)
        for part in ("http:", "https:", "<script", "src=", "@import", "url("):
            self.assertNotIn(part, text)
        chromium = shutil.which("chromium")
        if not chromium:
            self.skipTest("chromium is missing: the report was not laid out")
        for width in (360, 1200):
            frame = self.dir / "frame.html"
            frame.write_text(f"<iframe id=f src=report.html width={width} height=900></iframe><pre id=o></pre><script>"
                             "f.onload=()=>{const d=f.contentDocument;o.textContent='WIDTH '+d.documentElement.scrollWidth"
                             "+' SVG '+d.querySelectorAll('svg').length}</script>")
            run = subprocess.run(
                [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--allow-file-access-from-files", "--virtual-time-budget=5000", f"--user-data-dir={self.dir}/profile",
                 "--dump-dom", frame.as_uri()], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8",
                timeout=120)
            measured = re.search(r"WIDTH (\d+) SVG (\d+)", run.stdout)
            self.assertIsNotNone(measured, run.stdout)
            self.assertLessEqual(int(measured[1]), width, "the page is wider than its window")
            self.assertGreaterEqual(int(measured[2]), 5)


class Fixtures(VerifyTest):
    NAMES = ("base", "wide-rope", "equal-widths", "no-bias", "no-shared-expert", "two-mtp-heads", "top-1", "top-3")

    def test_every_fixture_agrees_with_pytorch_and_with_its_exact_folder(self):
        for name in self.NAMES:
            with self.subTest(name):
                source = FIXTURES / f"reference.{name}.safetensors"
                golden = FIXTURES / f"reference.{name}.golden.safetensors"
                facts = read_safetensors(golden)[1]
                setting = "experts_per_token=" + facts["top_k"]
                folder = self.convert(source, "exact", "--set", setting)
                # The setting is the folder's own: verify takes it from weightbridge.json.
                found = self.verify(0, source, folder, "--tokens", golden, "--reference", golden)
                self.assertLessEqual(found["reference"]["logits"]["max_abs"], 1e-4)
                self.assertLessEqual(found["reference"]["logits"]["mean_kl"], 1e-8)
                self.assertEqual(len(found["reference"]["hidden"]), int(facts["layers"]))
                self.assertEqual(len(found["reference"]["mtp"]), int(facts["mtp"]))
                self.assertEqual(found["comparison"]["logits"]["max_abs"], 0)
                shutil.rmtree(folder)

    # Each recipe is wrong in one thing that shapes can't show; both sides of the conversion are
    # wrong together, and only the reference tells.
    def wrong_recipe(self, fixture, *edits):
        text = RECIPE.read_text()
        for old, new in edits:
            self.assertIn(old, text)
            text = text.replace(old, new)
        recipe = self.dir / "wrong.toml"
        recipe.write_text(text)
        source = FIXTURES / f"reference.{fixture}.safetensors"
        golden = FIXTURES / f"reference.{fixture}.golden.safetensors"
        folder = self.convert(source, "exact", "--recipe", recipe)
        blind = self.verify(0, source, folder, "--recipe", recipe, "--tokens", golden)
        self.assertTrue(blind["pass"])
        caught = self.verify(1, source, folder, "--recipe", recipe, "--tokens", golden, "--reference", golden)
        self.assertFalse(caught["reference"]["agrees"])
        self.assertEqual(caught["reference"]["parts_at"], 0)

    def test_gate_and_up_swapped(self):
        self.wrong_recipe(
            "base",
            ('"{block}.mlp.experts.{e}.gate" ', '"{block}.mlp.experts.{e}.KEEP" '),
            ('"{block}.mlp.experts.{e}.up" ', '"{block}.mlp.experts.{e}.gate" '),
            ('"{block}.mlp.experts.{e}.KEEP" ', '"{block}.mlp.experts.{e}.up" '))

    def test_rope_layout_flipped(self):
        self.wrong_recipe("base", ('layout = "half_split"', 'layout = "interleaved"'))

    def test_nope_and_rope_swapped(self):
        # Here the head width and the rope width are both WIDTH, so that the swap has the right shapes.
        self.wrong_recipe(
            "equal-widths",
            ('"{block}.attn.q_nope"  = "{block}.attn.q_decompress.', '"{block}.attn.q_nope"  = "{block}.attn.q_rope_proj.'),
            ('"{block}.attn.q_rope"  = "{block}.attn.q_rope_proj.', '"{block}.attn.q_rope"  = "{block}.attn.q_decompress.'))


class Export(VerifyTest):
    def test_export_reference_writes_what_verify_reads(self):
        try:
            import torch
        except ImportError:
            self.skipTest("python3-torch is missing: tools/export_reference.py was not run")
        sys.path.insert(0, str(SOURCE_DIR / "tools"))
        from export_reference import export_reference
        import make_runtime_fixtures as fixtures
        import argparse
        shape = argparse.Namespace(**{**fixtures.REFERENCE, "seed": 11})
        model = fixtures.Model(shape).eval()
        fixtures.randomise(model, shape)
        source, reference = self.dir / "model.pt", self.dir / "reference.safetensors"
        torch.save(model.state_dict(), source)
        tokens = torch.arange(10) * 3 % shape.vocab
        export_reference(str(reference), lambda t: model(t[0])["logits"], tokens, layers=model.h)
        folder = self.convert(source, "exact")
        found = self.verify(0, source, folder, "--tokens", reference, "--reference", reference)
        self.assertLessEqual(found["reference"]["logits"]["max_abs"], 1e-4)
        self.assertEqual(len(found["reference"]["hidden"]), shape.layers)
        # A model that gives only the last position's logits is told so.
        with self.assertRaisesRegex(ValueError, "only the last position"):
            export_reference(str(reference), lambda t: model(t[0])["logits"][-1:], tokens)


if __name__ == "__main__":
    result = unittest.main(verbosity=1, exit=False).result
    sys.exit(1 if not result.wasSuccessful() else 77 if result.skipped else 0)
