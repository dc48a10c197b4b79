"""A folder that the program wrote, run by the class file that lies in it: on the numpy
stand-in for MLX, against the logits of the original PyTorch implementation; and, where
npm can install it, on real MLX. Needs numpy."""
import os
import subprocess
import sys
import tempfile
import unittest

from program import SOURCE_DIR, TINY, ProgramTest

GOLDEN = SOURCE_DIR / "samples" / "tiny" / "golden.safetensors"


class ExactClass(ProgramTest):
    def setUp(self):
        super().setUp()
        self.folder = self.dir / "exact"
        self.succeed("convert", TINY, "-o", self.folder, "--target", "exact", "--no-sync")

    def test_on_the_stand_in(self):
        script = SOURCE_DIR / "tests" / "mlx" / "run_exact_class.py"
        run = subprocess.run([sys.executable, script, self.folder, "--golden", GOLDEN, "--bound",
                              "1e-4"], encoding="utf-8", stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
        self.assertEqual(run.returncode, 0, run.stdout)

    def test_on_real_mlx(self):
        work = os.environ.get("WB_MLX_WORK") or os.path.join(tempfile.gettempdir(), "weightbridge-mlx")
        run = subprocess.run(["sh", SOURCE_DIR / "tests" / "mlx_live" / "run.sh", work, self.folder,
                              GOLDEN, "1e-4"], encoding="utf-8", stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
        if run.returncode == 77:
            print(run.stdout, file=sys.stderr)
            self.skipTest(run.stdout.strip())
        self.assertEqual(run.returncode, 0, run.stdout)


if __name__ == "__main__":
    # A run in which something was skipped counts as skipped where ctest can show it.
    result = unittest.main(verbosity=1, exit=False).result
    sys.exit(1 if not result.wasSuccessful() else 77 if result.skipped else 0)
