"""Every hostile input of tools/attacks: refused with a message of its own that names the file, with
the exit code of bad input, within 1 second of processor time and 64 MiB, nothing run, nothing left.

The files are made by another process, since what a child may hold at most begins with what its
parent held when it was started."""
import json
import os
import pathlib
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from program import COUNTED, PROGRAM, SANITIZED, SOURCE_DIR, TINY, ProgramTest
from server import Server

sys.path.insert(0, str(SOURCE_DIR / "tools"))
from attacks import all_attacks  # noqa: E402

GENERATOR = SOURCE_DIR / "tools" / "make_attack_files.py"
DOCUMENT = SOURCE_DIR / "docs" / "security.md"
RAN = pathlib.Path("/tmp/weightbridge-attack-ran")
SECONDS, MEBIBYTES = 1.0, 64
PATIENCE = 60  # seconds of a clock, on a machine that does much else: only a hang takes as long


def measured(arguments):
    """(exit code, standard output, standard error, seconds of processor time, MiB at most)."""
    def bounds():
        resource.setrlimit(resource.RLIMIT_CPU, (20, 25))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen([PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                   preexec_fn=bounds)
        end = time.monotonic() + PATIENCE
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end:
                process.kill()
                os.wait4(process.pid, 0)
                raise AssertionError("it hangs: " + " ".join(arguments))
            time.sleep(0.002)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return (process.returncode, out.read(), err.read(), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


class Attacks(ProgramTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="weightbridge attacks ")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        subprocess.run([sys.executable, "-B", GENERATOR, cls.folder], check=True, stdout=subprocess.DEVNULL)
        RAN.unlink(missing_ok=True)

    def check_cost(self, seconds, mebibytes):
        if SANITIZED or COUNTED:
            return
        self.assertLess(seconds, SECONDS)
        self.assertLess(mebibytes, MEBIBYTES)

    def refusal(self, attack, command):
        """Runs one command on an attack; returns the sentence without the place."""
        path = attack.place(self.folder)
        room = pathlib.Path(tempfile.mkdtemp(dir=self.dir))
        arguments = [a.replace("{}", path).replace("{out}", str(room / "out")).replace("{tiny}", str(TINY))
                     for a in command]
        status, out, err, seconds, mebibytes = measured([*arguments, "--json"])
        self.assertNotIn(b"mistake of our own", err)
        self.assertEqual(status, 3, out[-500:] + err[-500:])
        error = json.loads(out)["error"]
        self.assertEqual(error["code"], attack.code, error)
        self.assertIn(attack.says, error["sentence"])
        self.assertTrue(error["advice"])
        named = os.path.join(path, attack.about) if os.path.isdir(path) and attack.about else attack.about or path
        self.assertIn(named, error["sentence"], "the file is named")
        self.assertTrue(re.fullmatch(r"[\x20-\x7e\n]*", error["sentence"].replace(self.folder, "")), error)
        self.check_cost(seconds, mebibytes)
        self.assertEqual(os.listdir(room), [], "nothing is left behind")
        return error["sentence"].replace(path, "")

    def test_every_file_is_refused(self):
        said = {}
        for attack in all_attacks():
            if attack.server is not None:
                continue
            for command in attack.commands():
                with self.subTest(attack.name, command=command[0]):
                    sentence = self.refusal(attack, command)
                    first = said.setdefault((attack.group, sentence), attack)
                    self.assertEqual(first.rule, attack.rule, "two lies, two rules and one message: " + first.name)
        self.assertFalse(RAN.exists(), "something ran")

    def sent(self, server, data):
        """(status and code, message) of the answer to raw bytes; ("closed", "") without one."""
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
            try:
                connection.sendall(data)
                answer = b""
                while piece := connection.recv(65536):
                    answer += piece
                    head, ended, body = answer.partition(b"\r\n\r\n")
                    length = re.search(rb"content-length: (\d+)", head.lower())
                    if ended and length and len(body) >= int(length[1]):
                        break
            except ConnectionResetError:
                answer = b""
        if not answer:
            return "closed", ""
        error = json.loads(body)["error"]
        return " ".join([head.split()[1].decode()] + [error["code"]] * bool(error["code"])), error["message"]

    def test_every_request_is_refused(self):
        servers, said = {}, {}
        for attack in all_attacks():
            if attack.server is None:
                continue
            path = attack.place(self.folder)
            arguments = tuple(a.replace("{}", path) for a in attack.server)
            if arguments not in servers:
                servers[arguments] = Server(*arguments)
                self.addCleanup(servers[arguments].stop)
            server = servers[arguments]
            with self.subTest(attack.name):
                held, worked = server.holds()[2], server.worked()
                code, message = self.sent(server, attack.request(path))
                self.assertEqual(code, attack.code, message)
                self.assertIn(attack.says, message)
                self.check_cost(server.worked() - worked, max(0, server.holds()[2] - held) / 1024)
                self.assertEqual(server.ask("/health")[0], 200, "it goes on serving")
                first = said.setdefault(message, attack)
                self.assertEqual(first.rule, attack.rule, "two lies, two rules and one message: " + first.name)
        self.assertFalse(RAN.exists(), "something ran")

    def test_names_are_unique_and_files_are_the_same_each_time(self):
        names = [a.name for a in all_attacks()]
        self.assertEqual(len(names), len(set(names)))
        again = self.dir / "again"
        wanted = ["global-os-system", "zip-bomb-total", "st-overlap"]
        subprocess.run([sys.executable, "-B", GENERATOR, again, *wanted], check=True, stdout=subprocess.DEVNULL)
        self.assertEqual(len(os.listdir(again)), len(wanted))
        for file in os.listdir(again):
            self.assertEqual((again / file).read_bytes(), pathlib.Path(self.folder, file).read_bytes())


class Document(ProgramTest):
    def test_its_table_is_the_generators(self):
        copy = self.dir / "security.md"
        shutil.copy(DOCUMENT, copy)
        subprocess.run([sys.executable, "-B", GENERATOR, "--update", copy], check=True)
        self.assertEqual(copy.read_text(), DOCUMENT.read_text(),
                         "run tools/make_attack_files.py --update docs/security.md")

    def test_it_lists_the_limits_of_the_option(self):
        error = self.fail_with(2, "usage", "inspect", TINY, "--limit", "nothing=1")
        limits = re.findall(r"([a-z-]+) \((\d+)\)", error["expected"])
        self.assertGreater(len(limits), 5)
        text = DOCUMENT.read_text()
        for name, value in limits:
            self.assertIn(f"| `{name}` | {int(value):,} |".replace(",", " "), text)

    def test_a_limit_can_be_raised_and_lowered(self):
        error = self.fail_with(3, "limit_exceeded", "inspect", TINY, "--limit", "tensors=10")
        self.assertIn("--limit tensors=", error["advice"])
        self.succeed("inspect", TINY, "--limit", "tensors=1000", "--limit", "total-bytes=1GiB")
        for wrong in ("tensors", "tensors=", "tensors=many", "=1"):
            self.fail_with(2, "usage", "inspect", TINY, "--limit", wrong)


if __name__ == "__main__":
    unittest.main()
