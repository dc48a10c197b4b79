"""A server under test: started on a free port, asked over HTTP, stopped; and what it holds open."""
import http.client
import json
import os
import pathlib
import signal
import subprocess
import time

from program import PROGRAM, RUNNER, TINY, weightbridge


class Server:
    """weightbridge serve ARGUMENTS, ready when the constructor returns."""

    def __init__(self, *arguments, environment=None, model=TINY):
        self.process = subprocess.Popen(
            [*RUNNER, PROGRAM, "serve", str(model), "--port", "0", "--json", *map(str, arguments)], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, encoding="utf-8", env={**os.environ, **(environment or {})})
        self.said, self.connections = "", []
        while not self.said.endswith("}\n") or self.said.count("{") != self.said.count("}"):
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError("the server did not start: " + self.process.stderr.read())
            self.said += line
        self.facts = json.loads(self.said)
        self.port = self.facts["port"]

    def connect(self, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        self.connections.append(connection)
        return connection

    def ask(self, path, body=None, method=None, headers=None, connection=None):
        """(status, headers, parsed JSON or text). `body`: an object, or bytes as they are."""
        own = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        own.request(method or ("GET" if body is None else "POST"), path, body,
                    {"Content-Type": "application/json", **(headers or {})})
        response = own.getresponse()
        data = response.read()
        if connection is None:
            own.close()
        kind = response.headers.get("Content-Type", "")
        return response.status, response.headers, json.loads(data) if kind == "application/json" and data else data.decode()

    def complete(self, **body):
        status, _, answer = self.ask("/v1/completions", body)
        assert status == 200, answer
        return answer

    def stream(self, path, body):
        """The events of a streamed answer, without the last, [DONE]."""
        status, headers, text = self.ask(path, {**body, "stream": True})
        assert status == 200 and headers["Content-Type"] == "text/event-stream", text
        lines = text.split("\n\n")
        assert lines[-2:] == ["data: [DONE]", ""], text
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]

    def metric(self, name):
        for line in self.ask("/metrics")[2].splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise AssertionError("no metric " + name)

    def holds(self):
        """(open descriptors, threads, resident KiB)."""
        place = pathlib.Path("/proc") / str(self.process.pid)
        status = (place / "status").read_text()
        value = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if len(line.split()) > 1}
        return len(os.listdir(place / "fd")), int(value["Threads"]), int(value["VmRSS"])

    def worked(self):
        """Seconds of processor time so far."""
        fields = (pathlib.Path("/proc") / str(self.process.pid) / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def settles(self, wanted, seconds=20):
        """Whether wanted() comes to hold."""
        end = time.monotonic() + seconds
        while not wanted():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def stop(self, signal_number=signal.SIGTERM, timeout=60):
        """The exit code; what was written to stderr is in self.errors."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        if not self.process.stdout.closed:
            self.collect(timeout)
        return self.process.returncode

    def collect(self, timeout):
        try:
            _, self.errors = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            for connection in self.connections:
                connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def generated(prompt, *flags, model=TINY):
    """What generate says of it, as a document."""
    run = weightbridge("generate", model, "--prompt", prompt, "--json", *flags)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)
