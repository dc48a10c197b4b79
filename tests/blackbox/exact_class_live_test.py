"""The exact class on real MLX: every switch, and quantised layers.

Axes: each model of axes.json (one for each switch of config.json), its logits as a plain
f64 implementation computed them, against MLX operations written out (tests/mlx_live).
Quantised: weights that MLX itself packed; MLX computes with them, and the program's
runtime with the folder must find the same logits. Needs numpy; skipped, loudly, where npm
cannot install MLX."""
import os
import subprocess
import sys
import tempfile
import unittest

from program import SOURCE_DIR, ProgramTest

sys.path.insert(0, str(SOURCE_DIR / "tests" / "mlx"))
import numpy as np  # noqa: E402
from folder import read_safetensors, write_folder, write_safetensors  # noqa: E402
from pattern import axes_models, pattern  # noqa: E402
from test_axes import BASE, shapes  # noqa: E402

AXES = SOURCE_DIR / "tests" / "fixtures" / "runtime" / "axes.json"
WORK = os.environ.get("WB_MLX_WORK") or os.path.join(tempfile.gettempdir(), "weightbridge-mlx")
# Widths that groups of 32 and 64 divide.
WIDE = {"hidden_size": 64, "q_lora_rank": 64, "kv_lora_rank": 64, "v_head_dim": 16,
        "moe_intermediate_size": 64, "shared_intermediate_size": 64, "intermediate_size": 64,
        "routed_bias": True, "kv_up_bias": True, "positions": "learned", "o_bias": True}


class LiveTest(ProgramTest):
    def live(self, *arguments):
        run = subprocess.run(["sh", SOURCE_DIR / "tests" / "mlx_live" / "run.sh", WORK, *arguments],
                             encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if run.returncode == 77:
            print(run.stdout, file=sys.stderr)
            self.skipTest(run.stdout.strip())
        self.assertEqual(run.returncode, 0, run.stdout)
        return run.stdout


class Axes(LiveTest):
    def test_every_switch(self):
        count = 0
        for name, config, tensors, tokens, logits, _ in axes_models(AXES):
            folder = self.dir / name.replace(" ", "-").replace(",", "")
            tensors = {n: t for n, t in tensors.items() if not n.startswith("mtp.")}
            write_folder(folder, config, tensors)
            write_safetensors(folder / "golden.safetensors", {"tokens": tokens, "logits": logits})
            count += 1
        said = self.live("--all", self.dir)
        self.assertIn(f"{count} of {count} folders", said)
        print(said.splitlines()[-1])

    def test_a_wrong_switch_fails(self):
        """The comparison can fail: one switch turned, the golden logits left as they were."""
        name, config, tensors, tokens, logits, _ = next(axes_models(AXES))
        write_folder(self.dir / "wrong", {**config, "rope_layout": "interleaved"}, tensors)
        write_safetensors(self.dir / "wrong" / "golden.safetensors",
                          {"tokens": tokens, "logits": logits})
        with self.assertRaisesRegex(AssertionError, "0 of 1 folders"):
            self.live("--all", self.dir)


class Quantised(LiveTest):
    def test_layers_that_mlx_packed(self):
        config = {**BASE, **WIDE}
        tensors = {n: pattern(n, s) for n, s in shapes(config).items()}
        write_folder(self.dir / "plain", config, tensors)
        plain = read_safetensors(self.dir / "plain" / "model.safetensors")
        for bits, group in [(4, 32), (4, 64), (8, 64), (2, 32)]:
            with self.subTest(bits=bits, group=group):
                out = self.dir / f"q{bits}-{group}"
                self.live("--quantise", self.dir / "plain", out, str(bits), str(group))
                packed = read_safetensors(out / "model.safetensors")
                self.assertEqual(packed["model.layers.1.mlp.gate.weight"].tobytes(),
                                 plain["model.layers.1.mlp.gate.weight"].tobytes())
                golden = read_safetensors(out / "golden.safetensors")
                tokens = ",".join(map(str, golden["tokens"]))
                self.succeed("logits", out, "--tokens", tokens, "-o", self.dir / "ours.safetensors")
                ours = read_safetensors(self.dir / "ours.safetensors")["logits"]
                worst = float(np.abs(ours.reshape(golden["logits"].shape) - golden["logits"]).max())
                print(f"{bits} bits, groups of {group}: {worst:.1e} from MLX")
                self.assertLessEqual(worst, 1e-4)


if __name__ == "__main__":
    # A run in which something was skipped counts as skipped where ctest can show it.
    result = unittest.main(verbosity=1, exit=False).result
    sys.exit(1 if not result.wasSuccessful() else 77 if result.skipped else 0)
