"""Running the program from tests: one place for the command, its output and temporary folders.

PROGRAM and SOURCE_DIR come from the environment (tests/blackbox.cmake sets them)."""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["WB_PROGRAM"]
SOURCE_DIR = pathlib.Path(os.environ["WB_SOURCE_DIR"])
TINY = SOURCE_DIR / "samples" / "tiny" / "tiny-deepseek.pt"
RUNNER = os.environ.get("WB_RUNNER", "").split()  # valgrind and its flags, in the short form
SANITIZED = os.environ.get("WB_SANITIZED") == "1"
COUNTED = os.environ.get("WB_COUNTED") == "1"  # built without optimisation, each line counted


def weightbridge(*arguments, **options):
    """Runs the program; stdout and stderr as text."""
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    return subprocess.run([*RUNNER, PROGRAM, *map(str, arguments)], encoding="utf-8", **options)


def write_safetensors(path, tensors, metadata=None):
    """tensors: name -> (dtype, shape); every byte zero."""
    header, offset = ({"__metadata__": metadata} if metadata else {}), 0
    widths = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}
    for name, (dtype, shape) in tensors.items():
        size = widths[dtype]
        for d in shape:
            size *= d
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + bytes(offset))


def read_safetensors(path):
    """name -> (dtype, shape, bytes), and the metadata."""
    blob = pathlib.Path(path).read_bytes()
    length = struct.unpack("<Q", blob[:8])[0]
    header = json.loads(blob[8:8 + length])
    metadata = header.pop("__metadata__", {})
    data = blob[8 + length:]
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])])
            for name, t in header.items()}, metadata


class ProgramTest(unittest.TestCase):
    """A test with a folder of its own, self.dir, that goes when the test ends."""

    maxDiff = None

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="weightbridge test "))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def succeed(self, *arguments, **options):
        run = weightbridge(*arguments, **options)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run

    def fail_with(self, status, code, *arguments, **options):
        """Runs it twice, as text and as JSON; returns the error of the JSON document."""
        plain = weightbridge(*arguments, **options)
        self.assertEqual(plain.returncode, status, plain.stdout + plain.stderr)
        self.assertEqual(plain.stdout, "", "results only on stdout")
        run = weightbridge(*arguments, "--json", **options)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        error = json.loads(run.stdout)["error"]
        self.assertEqual(error["code"], code, error)
        self.assertEqual(set(error), {"code", "sentence", "advice", "file", "tensor", "expected",
                                      "actual"})
        self.assertTrue(plain.stderr.startswith("weightbridge: " + error["sentence"]), plain.stderr)
        self.assertTrue(error["advice"], "an error says what to do")
        self.assertIn(error["advice"], plain.stderr)
        return error

    def document(self, *arguments):
        run = self.succeed(*arguments, "--json")
        return json.loads(run.stdout)
