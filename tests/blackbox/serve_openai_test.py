"""OpenAI's own npm client against serve. Needs node and npm."""
import json
import os
import subprocess
import sys
import unittest

from program import SOURCE_DIR
from server import Server, generated

WARM = ("--temperature", "1.2", "--top-p", "0.9", "--max-tokens", "20")
PROMPT = "In the beginning"


class Client(unittest.TestCase):
    def test_everything_the_client_can_ask(self):
        with Server("--api-key", "k") as server:
            run = subprocess.run([SOURCE_DIR / "tests/openai_live/run.sh", os.environ["WB_OPENAI_WORK"],
                                  "http://127.0.0.1:%d/v1" % server.port, "k"],
                                 capture_output=True, text=True, timeout=300)
            if run.returncode == 77:
                print(run.stderr)
                sys.exit(77)
            self.assertEqual(run.returncode, 0, run.stderr)
            found = json.loads(run.stdout)
        one, two = (generated(PROMPT, *WARM, "--seed", s) for s in "78")
        self.assertEqual((found["model"], found["retrieved"]), ("tiny-deepseek", "tiny-deepseek"))
        self.assertEqual(found["completion"]["choices"][0]["text"], one["text"])
        self.assertEqual([c["text"] for c in found["several"]["choices"]], [one["text"], two["text"]])
        usage = {"prompt_tokens": one["prompt_tokens"], "completion_tokens": 20,
                 "total_tokens": one["prompt_tokens"] + 20}
        self.assertEqual(found["completion"]["usage"], usage)
        stopped = generated(PROMPT, "--max-tokens", "40", "--stop", " the")
        self.assertEqual(found["stopped"]["choices"][0]["text"], stopped["text"])
        self.assertEqual(found["stopped"]["choices"][0]["finish_reason"], "stop")
        self.assertEqual("".join(found["pieces"]), one["text"])
        self.assertGreater(len(found["pieces"]), 10)
        # There is no template: a conversation of one message is its content.
        self.assertEqual(found["chat"]["choices"][0]["message"]["content"], one["text"])
        self.assertEqual(found["chatStream"]["text"], one["text"])
        self.assertEqual(found["chatStream"]["usage"], usage)
        self.assertEqual(found["helper"]["message"]["content"], one["text"])
        self.assertEqual(found["helper"]["finish_reason"], "length")
        errors = found["errors"]
        self.assertEqual((errors["range"]["status"], errors["range"]["param"]), (400, "temperature"))
        self.assertIn("from 0 to 100; it is -1", errors["range"]["message"])
        self.assertEqual((errors["model"]["status"], errors["model"]["code"]), (404, "model_not_found"))
        self.assertEqual((errors["tools"]["kind"], errors["tools"]["param"]), ("BadRequestError", "tools"))
        self.assertEqual((errors["key"]["kind"], errors["key"]["code"]), ("AuthenticationError", "invalid_api_key"))


if __name__ == "__main__":
    unittest.main()
