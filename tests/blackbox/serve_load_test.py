"""A thousand requests over 32 connections, some of clients that read slowly and some that vanish:
every answer that is awaited comes and equals generate's, and afterwards the server holds what it
held before. Then it is stopped under load."""
import http.client
import json
import os
import queue
import random
import signal
import socket
import threading
import time
import unittest

from program import SANITIZED
from server import Server, generated

REQUESTS = 200 if SANITIZED else 1000
CONNECTIONS = 32
PROMPTS = ("In the beginning", "They said", "A man who", "Never")
SEEDS = 6
TOKENS = (3, 10, 24)


def expectations():
    """(prompt, seed) -> the text of the longest answer's tokens, from generate, and its token ids."""
    return {(p, s): generated(p, "--temperature", "0.9", "--top-p", "0.95", "--seed", s,
                              "--max-tokens", max(TOKENS))
            for p in PROMPTS for s in range(SEEDS)}


class Load(unittest.TestCase):
    stopping = False

    @classmethod
    def setUpClass(cls):
        cls.wanted = expectations()

    def body(self, rng, stream):
        prompt, seed, n = rng.choice(PROMPTS), rng.randrange(SEEDS), rng.choice(TOKENS)
        return {"prompt": prompt, "seed": seed, "max_tokens": n, "temperature": 0.9, "top_p": 0.95,
                "return_token_ids": True, "stream": stream}

    def check(self, body, choices):
        """The pieces of one answer against generate's."""
        ids = [t for c in choices for t in c.get("token_ids", [])]
        wanted = self.wanted[body["prompt"], body["seed"]]["tokens"][:body["max_tokens"]]
        if choices[-1].get("cut") == "shutdown" and self.stopping:
            wanted = wanted[:len(ids)]
        if ids != wanted:
            return "%s: got %s, wanted %s" % (body, ids, wanted)
        if choices[-1]["finish_reason"] not in ("length", "stop"):
            return "%s ended with %s" % (body, choices[-1]["finish_reason"])
        return None

    def plain(self, server, rng, connection):
        body = self.body(rng, False)
        status, _, answer = server.ask("/v1/completions", body, connection=connection)
        return self.check(body, answer["choices"]) if status == 200 else "%d: %s" % (status, answer)

    def streamed(self, server, rng, connection, pause=0.0):
        body = self.body(rng, True)
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            return "%d: %s" % (response.status, response.read())
        choices = []
        while True:
            line = response.readline()
            if pause:
                time.sleep(pause)
            if line == b"data: [DONE]\n":
                response.read()
                return self.check(body, choices)
            if not line:
                return "the stream of %s broke off after %s" % (body, choices[-1:])
            if line.startswith(b"data: "):
                choices.append(json.loads(line[6:])["choices"][0])

    def vanish(self, server, rng):
        """Asks for much and leaves: before the answer, in its middle, or half way through asking."""
        how = rng.randrange(3)
        body = json.dumps({**self.body(rng, how == 2 or rng.random() < 0.7), "max_tokens": 4000}).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
            s.sendall(head + (body if how else body[:20]))
            if how == 2:
                s.recv(100)
            elif how == 1:
                time.sleep(0.02)
            if rng.random() < 0.5:  # not even a farewell: a reset
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return None

    def client(self, server, number, jobs, faults):
        rng = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while True:
            try:
                jobs.get_nowait()
            except queue.Empty:
                break
            try:
                kind = rng.random()
                if kind < 0.15:
                    fault = self.vanish(server, rng)
                elif kind < 0.25:
                    fault = self.streamed(server, rng, connection, pause=0.02)
                elif kind < 0.65:
                    fault = self.streamed(server, rng, connection)
                else:
                    fault = self.plain(server, rng, connection)
            except (OSError, http.client.HTTPException, ValueError) as error:
                fault = "%s: %s" % (type(error).__name__, error)
                connection.close()
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            if fault:
                faults.append(fault)
        connection.close()

    def storm(self, server, requests):
        jobs, faults = queue.Queue(), []
        for i in range(requests):
            jobs.put(i)
        clients = [threading.Thread(target=self.client, args=(server, n, jobs, faults)) for n in range(CONNECTIONS)]
        for c in clients:
            c.start()
        for c in clients:
            c.join()
        return faults

    def quiet(self, server):
        return (server.metric("weightbridge_texts_running") == 0 and server.metric("weightbridge_texts_waiting") == 0
                and server.metric("weightbridge_connections") <= 1)

    def test_nothing_is_lost_and_nothing_stays(self):
        with Server() as server:
            self.assertEqual(self.storm(server, REQUESTS // 4), [])  # to a steady state
            self.assertTrue(server.settles(lambda: self.quiet(server)))
            files, threads, memory = server.holds()
            begin = time.monotonic()
            self.assertEqual(self.storm(server, REQUESTS), [])
            seconds = time.monotonic() - begin
            self.assertTrue(server.settles(lambda: self.quiet(server)))
            self.assertTrue(server.settles(lambda: server.holds()[0] <= files and server.holds()[1] <= threads),
                            "%s, before %s" % (server.holds(), (files, threads, memory)))
            after = server.holds()[2]
            print("%d requests in %.1f s; KiB before and after: %d, %d" % (REQUESTS, seconds, memory, after))
            if not SANITIZED:  # which keep freed memory on purpose
                self.assertLess(after, memory * 1.1 + 4096, "memory stays")
            self.assertGreater(server.metric("weightbridge_clients_left_total"), REQUESTS // 40)
            self.assertEqual(server.stop(), 0)
            self.assertEqual(server.errors, "")

    def test_stops_under_load(self):
        server = Server("--grace", "1")
        self.stopping = True
        jobs, faults = queue.Queue(), []
        for i in range(100000):
            jobs.put(i)
        clients = [threading.Thread(target=self.client, args=(server, n, jobs, faults)) for n in range(CONNECTIONS)]
        for c in clients:
            c.start()
        time.sleep(1.5)
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        status = server.stop(timeout=30)
        while not jobs.empty():
            try:
                jobs.get_nowait()
            except queue.Empty:
                break
        for c in clients:
            c.join()
        self.assertEqual(status, 0, server.errors)
        self.assertEqual(server.errors, "")
        self.assertLess(time.monotonic() - begin, 15)
        # Clients got an answer, an end, a refusal or no connection: never a wrong answer, and no
        # stream that breaks off.
        for fault in faults:
            self.assertRegex(fault, r"^(503: |ConnectionRefused|ConnectionReset|RemoteDisconnected|BrokenPipe)")


if __name__ == "__main__":
    unittest.main()
