"""serve over plain HTTP: answers equal to generate's, streams, refusals, limits, keys and stopping."""
import http.client
import json
import re
import signal
import socket
import subprocess
import threading
import time
import unittest

from program import PROGRAM, TINY, ProgramTest, weightbridge
from server import Server, generated

PROMPT = "In the beginning"
WARM = {"temperature": 1.2, "top_k": 50, "top_p": 0.9, "seed": 7, "max_tokens": 20}
WARM_FLAGS = ("--temperature", "1.2", "--top-k", "50", "--top-p", "0.9")


class Answers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)

    def test_completions_are_generates(self):
        for body, flags in [({"temperature": 0}, ()), (WARM, (*WARM_FLAGS, "--seed", "7")),
                            ({"temperature": 0.7, "min_p": 0.1, "repetition_penalty": 1.3, "seed": 3},
                             ("--temperature", "0.7", "--min-p", "0.1", "--repetition-penalty", "1.3", "--seed", "3"))]:
            with self.subTest(body):
                body = {"max_tokens": 20, **body}
                wanted = generated(PROMPT, "--max-tokens", "20", *flags)
                found = self.server.complete(prompt=PROMPT, return_token_ids=True, **body)
                choice = found["choices"][0]
                self.assertEqual(choice["token_ids"], wanted["tokens"])
                self.assertEqual(choice["text"], wanted["text"])
                self.assertEqual(choice["finish_reason"], "length")
                self.assertEqual(found["usage"], {"prompt_tokens": wanted["prompt_tokens"], "completion_tokens": 20,
                                                  "total_tokens": wanted["prompt_tokens"] + 20})
                self.assertEqual((found["object"], found["model"]), ("text_completion", "tiny-deepseek"))

    def test_n_takes_seeds_that_follow_each_other(self):
        found = self.server.complete(prompt=PROMPT, n=3, return_token_ids=True, **WARM)
        for i, choice in enumerate(found["choices"]):
            self.assertEqual(choice["index"], i)
            self.assertEqual(choice["token_ids"], generated(PROMPT, *WARM_FLAGS, "--max-tokens", "20", "--seed", 7 + i)["tokens"])
        self.assertEqual(found["usage"]["prompt_tokens"], 3)
        self.assertEqual(found["usage"]["completion_tokens"], 60)

    def test_lists_of_prompts_and_of_tokens(self):
        body = {"temperature": 0, "max_tokens": 8}
        two = self.server.complete(prompt=[PROMPT, "They said"], **body)["choices"]
        alone = [self.server.complete(prompt=p, **body)["choices"][0]["text"] for p in (PROMPT, "They said")]
        self.assertEqual([c["text"] for c in two], alone)
        ids = generated(PROMPT, "--max-tokens", "8")["tokens"]
        found = self.server.complete(prompt=[ids[:4], ids[:2]], return_token_ids=True, **body)
        run = weightbridge("generate", TINY, "--tokens", ",".join(map(str, ids[:4])), "--max-tokens", "8", "--json")
        self.assertEqual(found["choices"][0]["token_ids"], json.loads(run.stdout)["tokens"])

    def test_a_stream_is_the_answer_in_pieces(self):
        whole = self.server.complete(prompt=PROMPT, n=2, **WARM)
        events = self.server.stream("/v1/completions", {"prompt": PROMPT, "n": 2, **WARM,
                                                       "stream_options": {"include_usage": True}})
        self.assertEqual(events[-1]["choices"], [])
        self.assertEqual(events[-1]["usage"], whole["usage"])
        for i in range(2):
            mine = [e["choices"][0] for e in events[:-1] if e["choices"][0]["index"] == i]
            self.assertEqual("".join(c["text"] for c in mine), whole["choices"][i]["text"])
            self.assertEqual([c["finish_reason"] for c in mine], [None] * (len(mine) - 1) + ["length"])
            self.assertGreater(len(mine), 10, "it does not come in pieces")
        self.assertEqual({e["id"] for e in events}, {events[0]["id"]})

    def test_chat_without_a_template_continues_the_contents(self):
        body = {"messages": [{"role": "system", "content": "In the"},
                             {"role": "user", "content": [{"type": "text", "text": "begin"},
                                                          {"type": "text", "text": "ning"}]}],
                "temperature": 0, "max_completion_tokens": 12}
        wanted = generated("In the\nbeginning", "--max-tokens", "12")["text"]
        status, _, found = self.server.ask("/v1/chat/completions", body)
        self.assertEqual(status, 200, found)
        self.assertEqual(found["choices"][0]["message"], {"role": "assistant", "content": wanted, "refusal": None})
        self.assertEqual(found["object"], "chat.completion")
        events = self.server.stream("/v1/chat/completions", body)
        self.assertEqual(events[0]["choices"][0]["delta"], {"role": "assistant", "content": ""})
        self.assertEqual("".join(e["choices"][0]["delta"].get("content", "") for e in events), wanted)
        self.assertEqual(events[-1]["choices"][0]["delta"], {})
        self.assertEqual(events[-1]["choices"][0]["finish_reason"], "length")
        self.assertEqual({e["object"] for e in events}, {"chat.completion.chunk"})

    def test_stop_strings(self):
        whole = self.server.complete(prompt=PROMPT, temperature=0, max_tokens=40)["choices"][0]["text"]
        word = whole.split()[3]
        for stop in (word, ["never said", word]):
            choice = self.server.complete(prompt=PROMPT, temperature=0, max_tokens=40, stop=stop)["choices"][0]
            self.assertEqual(choice["text"], whole[:whole.index(word)])
            self.assertEqual(choice["finish_reason"], "stop")
        events = self.server.stream("/v1/completions", {"prompt": PROMPT, "temperature": 0, "max_tokens": 40,
                                                       "stop": word})
        self.assertEqual("".join(e["choices"][0]["text"] for e in events), whole[:whole.index(word)])
        self.assertEqual(events[-1]["choices"][0]["finish_reason"], "stop")

    def test_echo(self):
        body = {"prompt": PROMPT, "temperature": 0, "max_tokens": 4}
        text = self.server.complete(**body)["choices"][0]["text"]
        self.assertEqual(self.server.complete(echo=True, **body)["choices"][0]["text"], PROMPT + text)
        events = self.server.stream("/v1/completions", {"echo": True, **body})
        self.assertEqual("".join(e["choices"][0]["text"] for e in events), PROMPT + text)

    def test_logprobs(self):
        found = self.server.complete(prompt=PROMPT, temperature=0, max_tokens=5, logprobs=3)["choices"][0]
        scores = found["logprobs"]
        self.assertEqual("".join(scores["tokens"]), found["text"])
        for token, logprob, top, offset in zip(scores["tokens"], scores["token_logprobs"], scores["top_logprobs"],
                                               scores["text_offset"]):
            self.assertEqual(len(top), 3)
            self.assertEqual(max(top, key=top.get), token, "greedy takes the likeliest")
            self.assertEqual(top[token], logprob)
            self.assertTrue(found["text"][offset:].startswith(token))
        status, _, chat = self.server.ask("/v1/chat/completions", {
            "messages": [{"role": "user", "content": PROMPT}], "temperature": 0, "max_tokens": 5, "logprobs": True,
            "top_logprobs": 2})
        self.assertEqual(status, 200)
        entries = chat["choices"][0]["logprobs"]["content"]
        self.assertEqual([e["logprob"] for e in entries], scores["token_logprobs"])
        for e in entries:
            self.assertEqual(bytes(e["bytes"]).decode(), e["token"])
            self.assertEqual(len(e["top_logprobs"]), 2)

    def test_without_a_seed_answers_differ(self):
        texts = {self.server.complete(prompt=PROMPT, temperature=1.5, max_tokens=20)["choices"][0]["text"]
                 for _ in range(4)}
        self.assertGreater(len(texts), 1)

    def test_models_health_and_metrics(self):
        _, _, models = self.server.ask("/v1/models")
        self.assertEqual([m["id"] for m in models["data"]], ["tiny-deepseek"])
        self.assertEqual(self.server.ask("/v1/models/tiny-deepseek")[2], models["data"][0])
        self.assertEqual(self.server.ask("/v1/models/other")[0], 404)
        self.assertEqual(self.server.ask("/health")[2]["status"], "ok")
        before = self.server.metric('weightbridge_generated_tokens_total{model="tiny-deepseek"}')
        self.server.complete(prompt=PROMPT, max_tokens=9, temperature=0)
        self.assertTrue(self.server.settles(lambda: self.server.metric(
            'weightbridge_generated_tokens_total{model="tiny-deepseek"}') == before + 9))
        self.assertEqual(self.server.metric("weightbridge_texts_running"), 0)
        self.assertGreater(self.server.metric("weightbridge_time_to_first_token_seconds_count"), 0)

    def test_the_page_is_one_file_that_may_run_nothing_else(self):
        status, headers, text = self.server.ask("/")
        self.assertEqual(status, 200)
        policy = headers["Content-Security-Policy"]
        self.assertIn("default-src 'none'", policy)
        self.assertRegex(policy, r"script-src 'sha256-[A-Za-z0-9+/]{43}=';")
        self.assertIn("connect-src 'self'", policy)
        self.assertNotRegex(text, r"""(src|href)=["'](?!data:)""")
        self.assertNotIn("innerHTML", text)
        self.assertEqual(headers["X-Content-Type-Options"], "nosniff")


class Refusals(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--max-context", "64", "--max-body", "8", "--read-timeout", "1")
        cls.addClassCleanup(cls.server.stop)

    def refused(self, status, path, body, words, **more):
        found, headers, answer = self.server.ask(path, body, **more)
        self.assertEqual(found, status, answer)
        self.assertEqual(set(answer["error"]), {"message", "type", "param", "code"})
        self.assertIn(words, answer["error"]["message"])
        return answer["error"]

    def test_bodies(self):
        path = "/v1/completions"
        self.refused(400, path, b"", "empty")
        self.refused(400, path, b"{", "not JSON")
        self.refused(400, path, b'{"prompt": "\xff"}', "not JSON")
        self.refused(400, path, b"[" * 5000, "nested")
        self.assertEqual(self.refused(400, path, {"prompt": 1}, "it is 1")["param"], "prompt")
        self.assertEqual(self.refused(400, path, {"prompt": ""}, "no token")["param"], "prompt")
        self.assertEqual(self.refused(400, path, {"prompt": [5000]}, "ids below 4096")["param"], "prompt")
        self.assertEqual(self.refused(404, path, {"model": "gpt", "prompt": "a"}, "'gpt'")["code"], "model_not_found")
        long = self.refused(400, path, {"prompt": [1] * 64}, "64 tokens")
        self.assertEqual(long["code"], "context_length_exceeded")
        self.refused(400, path, {"prompt": [1] * 60, "max_tokens": 5}, "4 would fit")
        self.refused(413, path, {"prompt": "a" * 9000}, "at most 8192")
        self.refused(415, path, b"--x", "JSON", headers={"Content-Type": "multipart/form-data; boundary=x"})
        self.refused(400, "/v1/chat/completions", {"messages": [{"role": "king", "content": "a"}]}, "king")
        self.assertEqual(self.server.ask("/health")[0], 200)

    def test_paths_and_methods(self):
        self.refused(404, "/v2", None, "nothing at this path")
        self.refused(405, "/v1/completions", None, "POST")
        self.refused(405, "/health", {"a": 1}, "GET")
        self.refused(405, "/v1/models", None, "GET", method="DELETE")
        self.assertEqual(self.server.ask("/health", method="HEAD")[0], 200)

    def raw(self, data, read=True):
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=20) as s:
            s.sendall(data)
            out = b""
            while read:
                got = s.recv(65536)
                if not got:
                    break
                out += got
        return out

    def test_requests_that_are_not_http(self):
        for data in (b"hello\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
                     b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: x\r\n" % i for i in range(20000)) + b"\r\n",
                     b"GET / HTTP/1.1\r\nh: " + b"x" * 9000 + b"\r\n\r\n"):
            with self.subTest(data[:20]):
                answer = self.raw(data)
                self.assertRegex(answer.split(b"\r\n")[0], rb"HTTP/1.1 4\d\d")
                self.assertIn(b'"error"', answer)
                self.assertIn(b"Connection: close", answer)

    def test_lengths_of_bodies(self):
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        self.assertIn(b" 411 ", self.raw(head + b"Connection: close\r\n\r\n"))
        self.assertIn(b" 400 ", self.raw(head + b"Content-Length: x\r\n\r\n{}"))
        self.assertIn(b" 400 ", self.raw(head + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"))
        self.assertIn(b" 413 ", self.raw(head + b"Content-Length: 99999999\r\n\r\n{}"))
        # Chunks without end, and a body that stops half way.
        chunks = b"Transfer-Encoding: chunked\r\n\r\n" + (b"1000\r\n" + b" " * 4096 + b"\r\n") * 4
        self.assertIn(b" 413 ", self.raw(head + chunks))
        begin = time.monotonic()
        self.assertIn(b" 400 ", self.raw(head + b"Content-Length: 100\r\n\r\n{"))
        self.assertLess(time.monotonic() - begin, 10)

    def test_chunks_that_are_a_body(self):
        body = b'{"prompt": "In", "max_tokens": 2}'
        answer = self.raw(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                          b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        self.assertIn(b" 200 ", answer.split(b"\r\n")[0])

    def test_http_1_0_has_no_chunks(self):
        body = b'{"prompt": "In", "max_tokens": 2, "stream": true}'
        answer = self.raw(b"POST /v1/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        self.assertTrue(answer.endswith(b"data: [DONE]\n\n"), answer)
        self.assertIn(b"\r\n\r\ndata: {", answer)

    def test_pages_from_elsewhere(self):
        body = {"prompt": "a", "max_tokens": 1}
        self.refused(403, "/v1/completions", body, "other origins", headers={"Origin": "http://evil.example"})
        self.refused(403, "/v1/completions", body, "names a host", headers={"Host": "evil.example"})
        _, headers, _ = self.server.ask("/health")
        self.assertNotIn("Access-Control-Allow-Origin", headers)


class Limits(unittest.TestCase):
    def test_an_api_key(self):
        for arguments, environment in ((("--api-key", "s3cret"), None), ((), {"WEIGHTBRIDGE_API_KEY": "s3cret"})):
            with Server(*arguments, environment=environment) as server:
                for headers, wanted in (({}, 401), ({"Authorization": "Bearer wrong"}, 401),
                                        ({"Authorization": "Bearer s3cret"}, 200)):
                    status, found, answer = server.ask("/v1/models", headers=headers)
                    self.assertEqual(status, wanted)
                    if wanted == 401:
                        self.assertEqual(answer["error"]["code"], "invalid_api_key")
                        self.assertEqual(found["WWW-Authenticate"], "Bearer")
                self.assertEqual(server.ask("/v1/completions", {"prompt": "a"})[0], 401)
                self.assertEqual(server.ask("/metrics")[0], 401)
                self.assertEqual(server.ask("/health")[0], 200)
                self.assertEqual(server.ask("/")[0], 200)

    def test_cors_for_one_origin(self):
        with Server("--cors", "https://app.example") as server:
            asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
            status, headers, _ = server.ask("/v1/completions", method="OPTIONS", headers=asked)
            self.assertEqual(status, 204)
            self.assertEqual(headers["Access-Control-Allow-Origin"], "https://app.example")
            self.assertIn("Authorization", headers["Access-Control-Allow-Headers"])
            self.assertEqual(server.ask("/health", headers={"Origin": "https://b.example"})[0], 403)

    def streaming(self, server, tokens=100000):
        """A connection on which an answer has begun."""
        connection = server.connect()
        connection.request("POST", "/v1/completions", json.dumps(
            {"prompt": PROMPT, "temperature": 1, "seed": 1, "max_tokens": tokens, "stream": True}))
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        self.assertTrue(response.readline().startswith(b"data: "))
        return connection, response

    def test_a_full_queue_says_so(self):
        with Server("--max-active", "1", "--max-waiting", "1", "--max-context", "200000", "--grace", "0") as server:
            held, _ = self.streaming(server)
            waiting = server.connect()
            waiting.request("POST", "/v1/completions", json.dumps({"prompt": PROMPT, "max_tokens": 1}))
            self.assertTrue(server.settles(lambda: server.metric("weightbridge_texts_waiting") == 1))
            status, headers, answer = server.ask("/v1/completions", {"prompt": PROMPT})
            self.assertEqual((status, answer["error"]["code"]), (503, "overloaded"))
            self.assertEqual(headers["Retry-After"], "1")
            held.close()
            self.assertEqual(waiting.getresponse().status, 200, "a place that is free again is taken")

    def test_a_client_that_leaves_is_stopped_at_once(self):
        with Server("--max-context", "200000") as server:
            held, response = self.streaming(server)
            whole = server.connect()  # one that waits for its whole answer
            whole.request("POST", "/v1/completions", json.dumps({"prompt": PROMPT, "max_tokens": 100000}))
            self.assertTrue(server.settles(lambda: server.metric("weightbridge_texts_running") == 2))
            held.close()
            response.close()
            whole.close()
            begin = time.monotonic()
            self.assertTrue(server.settles(lambda: server.metric("weightbridge_texts_running") == 0, 5))
            self.assertLess(time.monotonic() - begin, 5)
            self.assertTrue(server.settles(lambda: server.metric("weightbridge_clients_left_total") == 2))

    def test_a_client_that_does_not_read_pauses_its_text_alone(self):
        with Server("--max-context", "200000", "--write-timeout", "6", "--no-speculation") as server:
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", server.port))
            body = json.dumps({"prompt": PROMPT, "max_tokens": 100000, "stream": True, "logprobs": 20}).encode()
            slow.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            self.assertTrue(server.settles(lambda: server.metric("weightbridge_texts_running") == 1))
            time.sleep(1.5)  # all buffers on the way fill up
            before = server.worked()
            time.sleep(1)
            self.assertLess(server.worked() - before, 0.3, "nobody reads, and it goes on")
            self.assertEqual(server.metric("weightbridge_texts_running"), 1)
            self.assertEqual(server.complete(prompt=PROMPT, max_tokens=50)["usage"]["completion_tokens"], 50)
            # It takes nothing for six seconds: then it is let go.
            self.assertTrue(server.settles(lambda: server.metric("weightbridge_texts_running") == 0))
            slow.close()

    def test_time_limit(self):
        with Server("--time-limit", "0.5", "--max-context", "200000") as server:
            found = server.complete(prompt=PROMPT, max_tokens=100000)["choices"][0]
            self.assertEqual((found["finish_reason"], found["cut"]), ("length", "time_limit"))
            self.assertTrue(found["text"])
            events = server.stream("/v1/completions", {"prompt": PROMPT, "max_tokens": 100000})
            self.assertEqual(events[-1]["choices"][0]["cut"], "time_limit")

    def test_connections_that_say_nothing_do_not_keep_others_waiting(self):
        with Server("--idle-timeout", "2", "--max-connections", "40") as server:
            silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(36)]
            half = silent[:18]
            for s in half:
                s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n")
            begin = time.monotonic()
            self.assertEqual(server.ask("/health")[0], 200)
            self.assertEqual(server.complete(prompt=PROMPT, max_tokens=2)["usage"]["completion_tokens"], 2)
            self.assertLess(time.monotonic() - begin, 5)
            silent += [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
            self.assertTrue(server.settles(lambda: self.turned_away(server)), "there is a bound on connections")
            self.assertTrue(server.settles(lambda: not self.turned_away(server)), "idle ones are let go")
            for s in silent:
                s.close()

    def turned_away(self, server):
        try:
            return server.ask("/health")[0] == 503
        except (ConnectionError, http.client.HTTPException):
            return True

    def test_stops_with_running_answers_given_an_end(self):
        for signals, wanted in ((1, "shutdown"), (2, "shutdown")):
            server = Server("--max-context", "200000", "--grace", "1" if signals == 1 else "600")
            connection, response = self.streaming(server)
            keep = server.connect()
            keep.request("GET", "/health")
            keep.getresponse().read()  # a connection that stays, idle
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.port))
            if signals == 2:
                server.process.send_signal(signal.SIGINT)
            rest = response.read().decode()
            self.assertTrue(rest.endswith("data: [DONE]\n\n"), rest[-200:])
            last = json.loads(rest.split("\n\n")[-3].removeprefix("data: "))
            self.assertEqual(last["choices"][0]["cut"], wanted)
            self.assertEqual(server.stop(), 0)
            self.assertEqual(server.errors, "")

    def test_short_answers_end_before_the_server_does(self):
        server = Server("--grace", "30")
        connection, response = self.streaming(server, tokens=40)
        server.process.send_signal(signal.SIGTERM)
        rest = response.read().decode()
        last = json.loads(rest.split("\n\n")[-3].removeprefix("data: "))
        self.assertNotIn("cut", last["choices"][0])
        self.assertEqual(server.stop(), 0)

    def test_fairness_over_the_wire(self):
        """One that came late gets tokens at the rate of those before it."""
        with Server("--max-context", "200000", "--no-speculation") as server:
            held = [self.streaming(server) for _ in range(3)]
            counts = [0] * 3

            def read(i):
                try:
                    while held[i][1].readline():
                        counts[i] += 1
                except (OSError, http.client.HTTPException, ValueError, AttributeError):
                    pass
            threads = [threading.Thread(target=read, args=(i,)) for i in range(3)]
            for t in threads:
                t.start()
            time.sleep(0.3)
            before = list(counts)
            server.complete(prompt=PROMPT, max_tokens=30, temperature=0)
            made = [(after - b) / 2 for after, b in zip(counts, before)]
            for connection, _ in held:
                connection.sock and connection.sock.shutdown(socket.SHUT_RDWR)
            for t in threads:
                t.join()
            for n in made:
                self.assertLess(n, 3 * 30 + 20, made)
                self.assertGreater(n, 30 / 3 - 10, made)


class Beside(ProgramTest):
    def test_two_models_and_their_names(self):
        folder = self.dir / "exact"
        self.succeed("convert", TINY, "-o", folder, "--target", "exact", "--no-sync")
        with Server("--beside", folder, "--beside-name", "copy") as server:
            self.assertEqual(server.facts["models"], ["tiny-deepseek", "copy"])
            body = {"prompt": PROMPT, "return_token_ids": True, "logprobs": 0, **WARM}
            one, two = (server.complete(model=m, **body)["choices"][0] for m in ("tiny-deepseek", "copy"))
            self.assertEqual(one["token_ids"], two["token_ids"])
            self.assertEqual(one["logprobs"], two["logprobs"], "an exact conversion computes the same")
        error = self.fail_with(2, "usage", "serve", TINY, "--beside", TINY)
        self.assertIn("one name", error["sentence"])

    def test_a_source_is_read_as_its_folder_was(self):
        folder = self.dir / "one-expert"
        self.succeed("convert", TINY, "-o", folder, "--target", "exact", "--no-sync", "--set", "experts_per_token=1")
        for first, second in ((TINY, folder), (folder, TINY)):
            with Server("--beside", second, model=first) as server:
                body = {"prompt": PROMPT, "temperature": 0, "max_tokens": 20}
                texts = {server.complete(model=m, **body)["choices"][0]["text"] for m in server.facts["models"]}
                self.assertEqual(texts, {generated(PROMPT, "--max-tokens", "20", model=folder)["text"]})
                server.stop()
                self.assertIn("--set experts_per_token=1", server.errors)

    def test_a_chat_template(self):
        model = self.dir / "model" / "tiny.pt"
        model.parent.mkdir()
        model.write_bytes(TINY.read_bytes())
        (model.parent / "tokenizer.json").write_bytes((TINY.parent / "tokenizer.json").read_bytes())
        (model.parent / "tokenizer_config.json").write_text(json.dumps({"eos_token": "%", "chat_template":
            "{% for m in messages %}{% if m.role == 'system' and loop.index > 1 %}{{ raise_exception('late system') }}"
            "{% endif %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"}))
        wanted = generated("[system] Be\n[user] In the\n[assistant]", "--max-tokens", "30", "--stop", "%", model=model)
        with Server(model=model) as server:
            self.assertTrue(server.ask("/v1/models")[2]["data"][0]["chat_template"])
            messages = [{"role": "developer", "content": "Be"}, {"role": "user", "content": "In the"}]
            body = {"messages": messages, "temperature": 0, "max_tokens": 30}
            status, _, found = server.ask("/v1/chat/completions", body)
            self.assertEqual(status, 200, found)
            self.assertEqual(found["choices"][0]["message"]["content"], wanted["text"])
            self.assertEqual(found["usage"]["prompt_tokens"], wanted["prompt_tokens"])
            status, _, found = server.ask("/v1/chat/completions", {**body, "messages": messages[::-1]})
            self.assertEqual((status, found["error"]["code"]), (400, "chat_template"))
            self.assertIn("late system", found["error"]["message"])

    def test_without_a_tokenizer_tokens_come_and_go(self):
        model = self.dir / "alone.pt"
        model.write_bytes(TINY.read_bytes())
        with Server(model=model) as server:
            status, _, answer = server.ask("/v1/completions", {"prompt": PROMPT})
            self.assertEqual((status, answer["error"]["code"]), (400, "no_tokenizer"))
            found = server.complete(prompt=[5, 6, 7], temperature=0, max_tokens=6)["choices"][0]
            run = weightbridge("generate", model, "--tokens", "5,6,7", "--max-tokens", "6", "--json")
            self.assertEqual(found["token_ids"], json.loads(run.stdout)["tokens"])

    def test_wrong_usage(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            error = self.fail_with(2, "usage", "serve", TINY, "--port", taken.getsockname()[1])
            self.assertIn("cannot listen on 127.0.0.1 port", error["sentence"])
            self.assertIn("--port", error["advice"])
        self.assertIn("host.invalid", self.fail_with(2, "usage", "serve", TINY, "--host", "host.invalid")["sentence"])
        for flags in (("--port", "70000"), ("--max-active", "0"), ("--time-limit", "0"), ("--grace", "-1")):
            self.assertEqual(weightbridge("serve", TINY, *flags).returncode, 2, flags)
        self.assertEqual(weightbridge("serve", self.dir / "nothing.pt").returncode, 4)

    def test_says_where_it_is(self):
        process = subprocess.Popen([PROGRAM, "serve", str(TINY), "--port", "0"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, encoding="utf-8")
        line = process.stdout.readline()
        self.assertTrue(re.fullmatch(r"tiny-deepseek at http://127\.0\.0\.1:\d+/\n", line), line)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        self.assertEqual((process.returncode, errors), (0, ""))


if __name__ == "__main__":
    unittest.main()
