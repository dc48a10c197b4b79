"""What tests of faults share: the shim that lets a system call fail, mounts, and what has to hold
after a conversion that did not get through."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

from program import PROGRAM, ProgramTest, SANITIZED, SOURCE_DIR
from resume_test import bytes_of, layout, write_shards

SMALL = dict(vocab=96, block=16, layers=2, hidden=64, heads=4, kv=16, q=24, rope=8, experts=4, routed=64, shared=64)


def run_as_root(*command):
    return subprocess.run([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")


def sanitizer_libraries():
    """The sanitizer's own libraries, which have to come before any other that is preloaded."""
    linked = subprocess.run(["ldd", PROGRAM], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    return re.findall(r"=> (\S*/lib[at]san\.so\S*)", linked)


class FaultTest(ProgramTest):
    """self.source: a small checkpoint in 3 shards; self.whole: what an undisturbed run makes of it."""

    SIZES, SHARDS = SMALL, 3
    PLACE = None  # where self.dir is made; tests of many conversions that sync do it in memory
    OPTIONS = ("--target", "exact", "--shard-size", "100KB")

    @classmethod
    def setUpClass(cls):
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang-14")
        if compiler is None:
            raise unittest.SkipTest("SKIPPED: no C compiler for tests/faults/shim.c")
        cls.work = pathlib.Path(os.environ["WB_FAULTS_WORK"]) / f"{os.getpid()}-{cls.__name__}"
        cls.work.mkdir(parents=True)
        cls.addClassCleanup(shutil.rmtree, cls.work, ignore_errors=True)
        cls.shim = cls.work / "shim.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(cls.shim),
                        str(SOURCE_DIR / "tests/faults/shim.c"), "-ldl"], check=True)
        cls.runtime = sanitizer_libraries() if SANITIZED else []
        cls.source = cls.work / "source"
        write_shards(cls.source, layout(cls.SIZES), cls.SHARDS)
        subprocess.run([PROGRAM, "convert", str(cls.source), "-o", str(cls.work / "whole"), *cls.OPTIONS,
                        "--no-sync"], check=True, stdout=subprocess.DEVNULL)
        cls.whole = bytes_of(cls.work / "whole")

    def setUp(self):
        was, tempfile.tempdir = tempfile.tempdir, self.PLACE if self.PLACE and os.path.isdir(self.PLACE) else None
        try:
            super().setUp()
        finally:
            tempfile.tempdir = was

    def arguments(self, *more, source=None, out=None, target="exact"):
        options = list(self.OPTIONS)
        options[1] = target
        return ["convert", str(source or self.source), "-o", str(out or self.dir / "out"), *options,
                *map(str, more)]

    def environment(self, fault, path=None):
        """WHAT befalls the N-th CALL: "CALL:N:WHAT" (tests/faults/shim.c)."""
        log = self.dir / "fault.log"
        log.unlink(missing_ok=True)
        more = {"WB_FAULT_PATH": str(path)} if path else {}
        return dict(os.environ, LD_PRELOAD=" ".join([*self.runtime, str(self.shim)]), WB_FAULT=fault, WB_FAULT_LOG=str(log), **more)

    def met(self):
        """The call that the shim's fault befell; empty when there was no such call any more."""
        log = self.dir / "fault.log"
        return log.read_text().strip() if log.exists() else ""

    def run_with(self, fault, *arguments, path=None):
        return subprocess.run([PROGRAM, *map(str, arguments)], encoding="utf-8", stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=self.environment(fault, path), timeout=60)

    def stopped_at(self, fault, *arguments):
        """Starts the program and returns it standing still at the fault, "CALL:N:stop"."""
        process = subprocess.Popen([PROGRAM, *map(str, arguments)], encoding="utf-8", stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=self.environment(fault))
        self.addCleanup(process.kill)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        self.assertTrue(os.WIFSTOPPED(status), "it ended before it came to " + fault)
        return process

    def go_on(self, process):
        process.send_signal(signal.SIGCONT)
        process.out, process.err = process.communicate(timeout=60)
        return process

    def left(self, folder=None):
        return sorted(p.name for p in (folder or self.dir).iterdir() if p.name != "fault.log")

    def assert_failed(self, run, status, *said, left=()):
        """The exit code, the sentence (no abort, no trace), and a folder with nothing in it but `left`."""
        err = getattr(run, "err", None) or run.stderr
        self.assertEqual(run.returncode, status, err)
        self.assertTrue(err.startswith("weightbridge: "), err)
        for part in said:
            self.assertIn(part, err)
        self.assertEqual(self.left(), sorted(left))

    def assert_whole(self, out=None):
        self.assertEqual(bytes_of(out or self.dir / "out"), self.whole)

    def mounted(self, name, *options, kind="tmpfs", device="tmpfs"):
        """A file system of its own at self.dir / name, unmounted in the end; skips where that can't be."""
        at = self.dir / name
        at.mkdir()
        said = run_as_root("mount", "-t", kind, *options, device, at)
        if said.returncode != 0:
            self.skipTest(f"SKIPPED: nothing can be mounted here ({said.stdout.strip()})")
        self.addCleanup(run_as_root, "umount", "-l", at)
        return at
