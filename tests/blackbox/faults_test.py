"""Faults of the machine: full disks, files that change or vanish, failing calls, signals, limits.
After each: the exit code, the sentence, no partial folder, nothing left but what --resume uses.
Needs numpy; parts need root (to mount) and a C compiler (for the shim)."""
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import unittest
import zipfile

from faults import FaultTest, run_as_root
from program import PROGRAM, TINY, SANITIZED, weightbridge
from resume_test import bytes_of


class Space(FaultTest):
    def test_a_small_disk_is_refused_before_the_first_byte(self):
        disk = self.mounted("disk", "-o", "size=200k")
        run = weightbridge(*self.arguments(out=disk / "out"))
        self.assert_failed(run, 4, "the disk is full", "bytes free", "Free some space", left=["disk"])
        self.assertEqual(self.left(disk), [])

    def test_a_disk_that_fills_on_the_way_and_is_gone_on_with(self):
        """--consume asks for no space beforehand, so that it meets the end of the disk."""
        disk = self.mounted("disk", "-o", "size=300k")
        source = self.dir / "copy" / "source"
        shutil.copytree(self.source, source)
        arguments = self.arguments("--consume", source=source, out=disk / "out")
        run = weightbridge(*arguments)
        self.assert_failed(run, 4, "the disk is full", left=["copy", "disk"])
        (partial,) = self.left(disk)
        self.assertTrue(partial.startswith(".out.weightbridge-partial-"))
        self.assertEqual(run_as_root("mount", "-o", "remount,size=8m", disk).returncode, 0)
        again = weightbridge(*arguments, "--resume")
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assert_whole(disk / "out")
        self.assertEqual(self.left(disk), ["out"])
        self.assertEqual(self.left(source), ["model.safetensors.index.json"])

    def test_no_inodes(self):
        disk = self.mounted("disk", "-o", "size=8m,nr_inodes=4")
        self.assert_failed(weightbridge(*self.arguments(out=disk / "out")), 4, "the disk is full", left=["disk"])
        self.assertEqual(self.left(disk), [])

    def test_no_room_for_inflated_records(self):
        disk = self.mounted("disk", "-o", "size=64k")
        packed = self.dir / "packed.pt"
        with zipfile.ZipFile(TINY) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
            for record in old.infolist():
                new.writestr(record.filename, old.read(record))
        run = weightbridge("convert", packed, "-o", self.dir / "out", env=dict(os.environ, TMPDIR=str(disk)))
        self.assert_failed(run, 4, "Set TMPDIR", "No space left", left=["disk", "packed.pt"])
        self.assertEqual(self.left(disk), [])


class Reading(FaultTest):
    """Files that cannot be read, and files that others change while they are."""

    def shard(self, source, n):
        return source / f"model-{n:05d}-of-{self.SHARDS:05d}.safetensors"

    def copy(self):
        source = self.dir / "source"
        shutil.copytree(self.source, source)
        return source

    def test_unreadable_and_missing(self):
        source = self.copy()
        shard = self.shard(source, 2)
        shard.chmod(0)
        self.dir.chmod(0o777)
        as_nobody = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}
        self.assert_failed(weightbridge(*self.arguments(source=source), **as_nobody), 4, str(shard),
                           "Permission denied", left=["source"])
        for spoil in (shard.unlink, lambda: os.mkfifo(shard), lambda: (shard.unlink(), shard.symlink_to("nowhere"))):
            spoil()
            self.assert_failed(weightbridge(*self.arguments(source=source), timeout=30), 3, shard.name,
                               "which is not in the folder", left=["source"])
        shard.unlink()
        shard.symlink_to(shard)  # around in a circle
        self.assert_failed(weightbridge(*self.arguments(source=source)), 4, "symbolic links",
                           left=["source"])

    def test_cut_short_under_the_reader(self):
        cases = [("exact",), ("exact", "--threads", 1), ("exact", "--threads", 4), ("shape-match",),
                 ("exact", "--bits", 4, "--group-size", 32), ("exact", "--no-sync", "--sha256")]
        for target, *more in cases:
            for size in (4096, 9000, 0):
                with self.subTest(target, more=more, size=size):
                    source = self.copy()
                    shard = self.shard(source, 3)
                    was = shard.stat().st_size
                    process = self.stopped_at("pwrite:1:stop", *self.arguments(*more, source=source, target=target))
                    os.truncate(shard, size)
                    self.assert_failed(self.go_on(process), 4, f"{shard}: was cut short by someone else",
                                       f"expected {was} bytes, found {size}", left=["source"])
                    shutil.rmtree(source)

    def test_cut_short_by_one_byte_or_changed_in_place(self):
        """No page is lost, and no byte is where it was believed to be."""
        for change, found in ((lambda f: f.truncate(f.seek(-1, 2)), "bytes, found"),
                              (lambda f: f.write(b"\0"), "found other contents"),
                              (lambda f: (f.seek(0, 2), f.write(b"x")), "bytes, found")):
            with self.subTest(found=found):
                source = self.copy()
                process = self.stopped_at("pwrite:1:stop", *self.arguments(source=source))
                with open(self.shard(source, 2), "r+b") as f:
                    change(f)
                self.assert_failed(self.go_on(process), 4, f"{self.shard(source, 2)}: was changed by someone else",
                                   found, left=["source"])
                shutil.rmtree(source)

    def test_what_is_resumable_stays_and_a_cut_file_is_not_consumed(self):
        source = self.copy()
        process = self.stopped_at("pwrite:9:stop", *self.arguments("--consume", "--threads", 1, source=source))
        shard = self.shard(source, 3)
        held = shard.read_bytes()
        os.truncate(shard, 4096)
        self.go_on(process)
        self.assertEqual(process.returncode, 4, process.err)
        self.assertIn("cut short", process.err)
        self.assertFalse(shard.with_name(shard.name + ".consumed").exists())
        shard.write_bytes(held)
        self.succeed(*self.arguments("--consume", "--resume", source=source))
        self.assert_whole()
        self.assertEqual(self.left(), ["out", "source"])

    def test_deleted_and_replaced_files_are_read_as_they_were(self):
        source = self.copy()
        process = self.stopped_at("pwrite:1:stop", *self.arguments(source=source))
        for n in (1, 2, 3):
            self.shard(source, n).unlink()
        self.assertEqual(self.go_on(process).returncode, 0, process.err)
        self.assert_whole()

    def test_our_own_files_vanish(self):
        process = self.stopped_at("pwrite:3:stop", *self.arguments())
        (partial,) = [name for name in self.left()]
        shutil.rmtree(self.dir / partial)
        self.go_on(process)
        self.assert_failed(process, 4, "No such file or directory")

    def test_our_own_file_is_cut_short(self):
        process = self.stopped_at("fsync:1:stop", *self.arguments("--threads", 1))
        (partial,) = self.left()
        for file in (self.dir / partial).glob("model-00001*"):
            os.truncate(file, 0)
        self.go_on(process)
        self.assertIn(process.returncode, (0, 4))
        if process.returncode == 4:
            self.assert_failed(process, 4, "was cut short by someone else")

    def test_generate_says_so_too(self):
        """The engine multiplies straight from the pages, on the threads of its pool."""
        source = self.dir / "model.pt"
        for threads in (1, 2):
            shutil.copyfile(TINY, source)
            process = subprocess.Popen([PROGRAM, "generate", source, "--tokens", "1,2,3", "--max-tokens", "2000", "--threads",
                                        str(threads)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.addCleanup(process.kill)
            process.stdout.read(1)
            process.send_signal(signal.SIGSTOP)
            os.truncate(source, 4096)
            self.go_on(process)
            process.err = process.err.decode()
            self.assert_failed(process, 4, f"{source}: was cut short by someone else", left=["model.pt"])


class Calls(FaultTest):
    """Each system call of a conversion fails once, at each of its turns."""

    PLACE = "/dev/shm"
    CALLS = ["open", "fstat", "mmap", "mkdir", "rename", "renameat2", "fallocate", "ftruncate", "fsync",
             "sync_file_range", "pwrite", "unlink", "remove"]

    def each_turn(self, call, what, *more, prepare=lambda: None):
        """Runs with the first, second, ... call failing, until there is none; yields the runs."""
        turn = 0
        while True:
            turn += 1
            prepare()
            run = self.run_with(f"{call}:{turn}:{what}", *self.arguments("--threads", 2, *more))
            if not self.met():
                self.assertEqual(run.returncode, 0, run.stderr)
                return
            yield run, f"{call} {turn} {what}"

    def clear(self):
        for path in self.dir.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def test_each_call_fails_once(self):
        failed = set()
        for call in self.CALLS:
            codes = {errno.ENOSPC: "no_space"} if call in ("pwrite", "fallocate", "fsync") else {}
            for number in (errno.EIO, *codes):
                for run, which in self.each_turn(call, number, prepare=self.clear):
                    with self.subTest(which):
                        if run.returncode == 0:
                            self.assert_whole()
                            self.assertEqual(self.left(), ["out"])
                            continue
                        failed.add(call)
                        said = os.strerror(number) if number != errno.ENOSPC else "the disk is full"
                        there = (self.dir / "out").exists()
                        self.assert_failed(run, 4, said, left=["out"] if there else [])
                        if there:  # the disk failed after the folder was in its place
                            self.assert_whole()
        self.assertLessEqual({"open", "fstat", "mmap", "mkdir", "fallocate", "fsync", "pwrite"}, failed)

    def test_short_and_interrupted_writes_go_on(self):
        for what in ("short", errno.EINTR):
            for run, which in self.each_turn("pwrite", what, prepare=self.clear):
                with self.subTest(which):
                    self.assertEqual(run.returncode, 0, run.stderr)
                    self.assert_whole()

    def test_a_file_system_without_its_newer_calls(self):
        for call, number in (("renameat2", errno.EINVAL), ("renameat2", errno.ENOSYS),
                             ("fallocate", errno.EOPNOTSUPP)):
            self.clear()
            run = self.run_with(f"{call}:1:{number}", *self.arguments())
            self.assertEqual(run.returncode, 0, run.stderr)
            self.assertTrue(self.met())
            self.assert_whole()

    def test_consuming_where_no_hole_can_be_made(self):
        """fallocate says EOPNOTSUPP, at each of its turns: for a new file, and for a hole in an old one."""
        source, turn = self.dir / "source", 0
        while True:
            turn += 1
            self.clear()
            shutil.copytree(self.source, source)
            run = self.run_with(f"fallocate:{turn}:{errno.EOPNOTSUPP}", *self.arguments("--consume", source=source))
            self.assertEqual(run.returncode, 0, run.stderr)
            self.assert_whole()
            self.assertEqual(self.left(source), ["model.safetensors.index.json"])
            if not self.met():
                break
        self.assertGreater(turn, 8)

    def test_the_old_folder_stays_until_the_new_one_is_there(self):
        def prepare():
            self.clear()
            (self.dir / "out").mkdir()
            (self.dir / "out" / "old").write_text("old")
        for call in ("renameat2", "rename", "fsync", "pwrite"):
            for run, which in self.each_turn(call, errno.EIO, "--force", prepare=prepare):
                with self.subTest(which):
                    self.assertEqual(self.left(), ["out"])
                    if run.returncode == 0:
                        self.assert_whole()
                    elif (self.dir / "out" / "old").exists():
                        self.assert_failed(run, 4, left=["out"])
                    else:  # the disk failed after the folder was in its place
                        self.assert_whole()

    @unittest.skipIf(SANITIZED, "SKIPPED: a sanitizer allocates by itself, so that no call of malloc can fail")
    def test_memory_runs_out_anywhere(self):
        """One allocation fails, from main() on to the end: of the first ones every fiftieth, then fewer."""
        turn, failed = 500, 0
        while True:
            self.clear()
            run = self.run_with(f"malloc:{turn}:{errno.ENOMEM}", *self.arguments("--threads", 2))
            if not self.met():
                break
            with self.subTest(turn=turn):
                if run.returncode == 0:
                    self.assert_whole()
                else:
                    failed += 1
                    there = (self.dir / "out").exists()
                    self.assert_failed(run, 4, "memory", left=["out"] if there else [])
                    if there:  # what was to be said of it could not be made
                        self.assert_whole()
            turn += 1 + turn // 10
        self.assertGreater(failed, 10)


class Signals(FaultTest):
    PLACE = "/dev/shm"

    def test_interrupted_at_each_call(self):
        self.sweep("term")

    def test_killed_at_each_call_and_resumed(self):
        self.sweep("kill")

    def sweep(self, what):
        source = self.dir / "source"
        arguments = self.arguments("--consume", "--threads", 1, source=source)

        def prepare():
            for path in self.dir.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            shutil.copytree(self.source, source)
        prepare()
        self.assertEqual(self.run_with("any:0:log", *arguments).returncode, 0)
        calls = self.met().split()
        self.assertGreater(len(calls), 60)
        # Each call that changes what is on the disk, and some of the others.
        often = ("open", "fstat", "mmap", "pwrite", "sync_file_range")
        for turn in [i + 1 for i, call in enumerate(calls) if call not in often or i % 5 == 0]:
            prepare()
            run = self.run_with(f"any:{turn}:{what}", *arguments)
            with self.subTest(f"{what} at call {turn}, {self.met()}"):
                if not self.met():  # some calls depend on the speed of the threads: this run had fewer
                    self.assertEqual(run.returncode, 0, run.stderr)
                elif run.returncode == 0:  # a signal that came when all was done
                    self.assertEqual(what, "term")
                elif what == "term":
                    self.assertEqual(run.returncode, 4, run.stderr)
                    self.assertIn("interrupted", run.stderr)
                else:
                    self.assertEqual(run.returncode, -signal.SIGKILL)
                if not (self.dir / "out").exists():
                    again = weightbridge(*arguments, "--resume")
                    self.assertEqual(again.returncode, 0, again.stderr)
                    self.assertEqual(self.left(), ["out", "source"])
                    self.assertEqual(self.left(source), ["model.safetensors.index.json"])
                got = bytes_of(self.dir / "out")
                got.pop("weightbridge.journal.0", None)  # killed between the last rename and its removal
                self.assertEqual(got, self.whole)

    def test_interrupted_at_any_time(self):
        """Without the shim, by the clock: from before main() to after the end."""
        rng = random.Random(3)
        start = time.monotonic()
        self.succeed(*self.arguments())
        seconds = time.monotonic() - start
        shutil.rmtree(self.dir / "out")
        for _ in range(30):
            number = rng.choice((signal.SIGINT, signal.SIGTERM))
            process = subprocess.Popen([PROGRAM, *self.arguments()], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       encoding="utf-8")
            time.sleep(rng.uniform(0, 1.1) * seconds)
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
            if (self.dir / "out").exists():
                self.assertEqual(process.returncode, 0, err)
                self.assert_whole()
                shutil.rmtree(self.dir / "out")
            elif process.returncode != -number:  # before the handlers were there
                self.assert_failed(type("Run", (), dict(returncode=process.returncode, stderr=err)), 4, "interrupted")
            self.assertEqual(self.left(), [])


class Together(FaultTest):
    """Several conversions into one folder."""

    def test_the_second_gives_way(self):
        first = self.stopped_at("pwrite:3:stop", *self.arguments())
        self.succeed(*self.arguments())
        self.assert_failed(self.go_on(first), 2, "the output appeared while it was being written", left=["out"])
        self.assert_whole()

    def test_with_force_each_is_whole(self):
        first = self.stopped_at("pwrite:3:stop", *self.arguments("--force", "--dtype", "f16"))
        self.succeed(*self.arguments("--force"))
        self.assert_whole()
        self.assertEqual(self.go_on(first).returncode, 0, first.err)
        self.assertEqual(self.left(), ["out"])
        self.assertEqual(json.loads((self.dir / "out" / "weightbridge.json").read_text())["dtype"], "f16")

    def test_many_at_once(self):
        runs = [subprocess.Popen([PROGRAM, *self.arguments("--threads", 1)], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, encoding="utf-8") for _ in range(6)]
        ends = [(run.communicate()[1], run.returncode) for run in runs]
        self.assertEqual(sorted(code for _, code in ends), [0, 2, 2, 2, 2, 2], ends)
        self.assertEqual(self.left(), ["out"])
        self.assert_whole()


class Places(FaultTest):
    """File systems and names."""

    def test_read_only(self):
        disk = self.mounted("disk", "-o", "size=8m")
        shutil.copytree(self.source, disk / "source")
        self.assertEqual(run_as_root("mount", "-o", "remount,ro", disk).returncode, 0)
        run = weightbridge(*self.arguments(out=disk / "out"))
        self.assert_failed(run, 4, "Read-only file system", left=["disk"])
        self.succeed(*self.arguments(source=disk / "source"))
        self.assert_whole()

    def test_case_insensitive(self):
        disk = None
        for kind, make in (("ext4", ["mkfs.ext4", "-q", "-O", "casefold"]), ("vfat", ["mkfs.vfat"])):
            image = self.dir / (kind + ".image")
            with open(image, "wb") as f:
                f.truncate(64 << 20)
            if shutil.which(make[0]) and run_as_root(*make, image).returncode == 0:
                at = self.dir / kind
                at.mkdir()
                if run_as_root("mount", "-t", kind, "-o", "loop", image, at).returncode == 0:
                    self.addCleanup(run_as_root, "umount", "-l", at)
                    disk = at / "folder"
                    disk.mkdir()
                    run_as_root("chattr", "+F", disk)
                    break
        if disk is None:
            self.skipTest("SKIPPED: this kernel mounts neither ext4 with casefold nor vfat")
        self.succeed(*self.arguments(out=disk / "Out"))
        self.assert_whole(disk / "out")
        run = weightbridge(*self.arguments(out=disk / "OUT"))
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertEqual(self.left(disk), ["Out"])
        self.succeed(*self.arguments("--force", out=disk / "oUT"))
        self.assert_whole(disk / "out")

    def test_names_that_shells_and_encodings_stumble_over(self):
        for name in (" spaces  everywhere ", "Ünïcödé 模型 🦜", "line\nbreak", "--dashes", "quote\"'`$(x)",
                     "percent %s %n", "back\\slash", "n" * 200):
            with self.subTest(name):
                folder = self.dir / name
                folder.mkdir()
                shutil.copytree(self.source, folder / "source")
                self.succeed(*self.arguments(source=folder / "source", out=folder / "out"))
                self.assert_whole(folder / "out")
                self.assertEqual(self.left(folder), ["out", "source"])
        name = os.fsencode(self.dir) + b"/not\xffutf8"
        run = subprocess.run([PROGRAM.encode(), *map(os.fsencode, self.arguments(out=self.dir)[:3]), name,
                              *map(os.fsencode, self.OPTIONS), b"--json"], stdout=subprocess.PIPE)
        self.assertEqual(run.returncode, 0)
        self.assert_whole(os.fsdecode(name) and self.dir / os.fsdecode(name).rsplit("/", 1)[1])
        json.loads(run.stdout)

    def test_names_too_long(self):
        run = weightbridge(*self.arguments(out=self.dir / ("n" * 250)))
        self.assert_failed(run, 4, "File name too long")


class Limits(FaultTest):
    """ulimit."""

    def limited(self, limits, *more):
        def limit():
            for which, value in limits.items():
                resource.setrlimit(which, (value, value))
        return weightbridge(*self.arguments("--threads", 2, *more), preexec_fn=limit, timeout=60)

    @unittest.skipIf(SANITIZED, "SKIPPED: a sanitizer's own memory is past any limit")
    def test_memory(self):
        """From where the program itself starts to where a conversion gets through, in small steps: which
        allocation is the one that fails, and how far under which C function, is the limit's doing."""
        codes = []
        for kilobytes in range(16 << 10, 400 << 10, 397):
            limit = kilobytes << 10
            start = weightbridge("--version", preexec_fn=lambda: resource.setrlimit(
                resource.RLIMIT_AS, (limit, limit)))
            if start.returncode != 0:  # the system's loader could not even map the libraries
                continue
            run = self.limited({resource.RLIMIT_AS: limit})
            with self.subTest(kilobytes=kilobytes):
                if run.returncode == 0:
                    self.assert_whole()
                    shutil.rmtree(self.dir / "out")
                else:
                    self.assert_failed(run, 4, "memory")
                codes.append(run.returncode)
            if codes[-6:] == [0] * 6:
                break
        self.assertEqual(codes[-1], 0)
        self.assertIn(4, codes)

    @unittest.skipIf(SANITIZED, "SKIPPED: the check of dynamic types asks the kernel through a pipe, so needs files")
    def test_files(self):
        codes = []
        for files in range(4, 24):
            run = self.limited({resource.RLIMIT_NOFILE: files})
            with self.subTest(files=files):
                if run.returncode == 0:
                    self.assert_whole()
                    shutil.rmtree(self.dir / "out")
                else:
                    self.assert_failed(run, 4, "Too many open files")
                codes.append(run.returncode)
        self.assertEqual(codes[-1], 0)
        self.assertIn(4, codes)

    def test_file_size(self):
        for size in (0, 1000, 50000):
            self.assert_failed(self.limited({resource.RLIMIT_FSIZE: size}), 4, "File too large")

    def test_no_thread(self):
        """pthread_create fails, as with ulimit -u, at each of its turns."""
        codes = []
        for turn in range(1, 100):
            run = self.run_with(f"pthread_create:{turn}:{errno.EAGAIN}", *self.arguments("--threads", 4))
            codes.append(run.returncode)
            if run.returncode == 0:  # it takes longer
                self.assert_whole()
                shutil.rmtree(self.dir / "out")
            else:
                self.assert_failed(run, 4, "the system has no thread to give", "ulimit")
            if not self.met():
                break
        self.assertEqual(codes.count(4), 1, codes)  # the one that follows the writing
        self.assertGreater(len(codes), 4)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *(sys.argv[1:] or [])])
