"""The program on a terminal, and interrupted. Needs no PyTorch."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import unittest

from program import PROGRAM, TINY, ProgramTest, weightbridge


def on_terminal(columns, *arguments, **environment):
    """Runs the program with a terminal of `columns` as stderr and stdout; what it wrote."""
    lead, follow = pty.openpty()
    fcntl.ioctl(follow, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    env.update({"TERM": "xterm", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}, **environment)
    process = subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.DEVNULL,
                               stderr=follow, env=env)
    os.close(follow)
    written = b""
    while True:
        ready, _, _ = select.select([lead], [], [], 60)
        try:
            chunk = os.read(lead, 65536) if ready else b""
        except OSError:  # Linux's way of saying that the other end is closed
            chunk = b""
        if not chunk:
            break
        written += chunk
    os.close(lead)
    return process.wait(), written.decode()


def lines_of(written):
    return [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]", written)]


class Terminal(ProgramTest):
    def convert(self, columns, **environment):
        self.runs = getattr(self, "runs", 0) + 1
        status, written = on_terminal(columns, "convert", TINY, "-o", self.dir / str(self.runs),
                                      "--no-sync", **environment)
        self.assertEqual(status, 0, written)
        return written

    def test_the_bar_fits_any_width_from_twenty(self):
        for columns in (20, 21, 33, 40, 60, 80, 200):
            written = self.convert(columns)
            drawn = [line for line in lines_of(written) if line]
            self.assertTrue(drawn, "a bar is drawn on a terminal")
            for line in drawn:
                self.assertLess(len(line), columns, (columns, line))
            self.assertTrue(written.endswith("\r\x1b[K"), "the bar is taken away")

    def test_a_wide_bar_says_bytes_rate_and_time(self):
        drawn = [line for line in lines_of(self.convert(120)) if line]
        self.assertRegex(drawn[-1], r"Writing  .*100 %  [\d.]+ MiB of [\d.]+ MiB  .*/s  .*left")

    def test_no_color_is_respected(self):
        colored = self.convert(100)
        self.assertRegex(colored, r"\x1b\[[0-9;]+m")
        plain = self.convert(100, NO_COLOR="1")
        self.assertNotRegex(plain, r"\x1b\[[0-9;]*m")
        self.assertIn("Writing", plain)

    def test_a_dumb_terminal_gets_no_bar(self):
        self.assertEqual(self.convert(80, TERM="dumb"), "")

    def test_errors_are_red_only_where_it_shows(self):
        missing = self.dir / "none.pt"
        status, written = on_terminal(80, "inspect", missing)
        self.assertEqual(status, 4)
        self.assertIn("\x1b[1;31mweightbridge:", written)
        self.assertNotIn("\x1b", on_terminal(80, "inspect", missing, NO_COLOR="1")[1])
        self.assertNotIn("\x1b", weightbridge("inspect", missing).stderr)


class Interrupted(ProgramTest):
    def interrupt_while_writing(self, which, json):
        """Sends `which` as soon as something appears beside the destination."""
        destination = self.dir / "out"
        process = subprocess.Popen(
            [PROGRAM, "convert", TINY, "-o", destination, "--threads", "1", "--sha256",
             "--shard-size", "200kB", *(["--json"] if json else [])],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
            preexec_fn=lambda: signal.signal(which, signal.SIG_DFL))
        deadline = time.monotonic() + 60
        while not list(self.dir.iterdir()) and process.poll() is None:
            self.assertLess(time.monotonic(), deadline)
        process.send_signal(which)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def test_nothing_is_left_and_the_exit_code_is_4(self):
        for which in (signal.SIGINT, signal.SIGTERM):
            for json in (False, True):
                # A machine may be so fast that the folder is done before the signal comes;
                # then it is there in full. Trying again meets the writing sooner or later.
                for _ in range(20):
                    status, out, err = self.interrupt_while_writing(which, json)
                    if status == 0:
                        self.assertTrue((self.dir / "out" / "weightbridge.json").exists())
                        subprocess.run(["rm", "-r", self.dir / "out"], check=True)
                        continue
                    break
                self.assertEqual(status, 4, out + err)
                self.assertEqual(list(self.dir.iterdir()), [], "nothing is left")
                self.assertIn('"code": "interrupted"' if json else "interrupted", out if json else err)

    def test_a_conversion_after_an_interrupted_one_succeeds(self):
        self.interrupt_while_writing(signal.SIGTERM, False)
        self.succeed("convert", TINY, "-o", self.dir / "out", "--force")


if __name__ == "__main__":
    unittest.main(verbosity=1)
