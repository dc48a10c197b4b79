"""The page of serve in headless Chromium: it streams, stops, compares two models, shows text as text
and fits narrow windows. With WB_PICTURES=DIR it leaves pictures there."""
import json
import os
import pathlib
import sys
import unittest

from browser import CHROMIUM, Browser
from program import TINY, ProgramTest
from server import Server, generated

PROMPT = "In the beginning"
RUNNING = "document.querySelectorAll('.answer.running').length"
ANSWERS = "[...document.querySelectorAll('.answer .text')].map(t => t.textContent)"


class Page(ProgramTest):
    @classmethod
    def setUpClass(cls):
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)

    def start(self, *arguments, **options):
        server = Server(*arguments, **options)
        self.addCleanup(server.stop)
        self.browser.events.clear()
        self.browser.window(1200, 800)
        self.browser.open("http://127.0.0.1:%d/" % server.port)
        self.browser.until("state.models.length > 0")
        return server

    def tearDown(self):
        self.assertEqual(self.browser.complaints(), [])

    def set(self, **knobs):
        for name, value in knobs.items():
            self.browser.evaluate("$(%s).value = %s" % (json.dumps(name), json.dumps(str(value))))

    def say(self, text):
        """Types it, as people do."""
        self.browser.evaluate("$('input').focus()")
        self.browser.type(text)
        self.browser.key("Enter", "\r")

    def wait(self):
        self.browser.until("!state.running")

    def picture(self, name):
        if os.environ.get("WB_PICTURES"):
            self.browser.picture(pathlib.Path(os.environ["WB_PICTURES"]) / (name + ".png"))

    def fits(self):
        self.assertLessEqual(self.browser.evaluate("document.documentElement.scrollWidth"),
                             self.browser.evaluate("innerWidth"), "the page is wider than its window")

    def convert(self, name, *flags):
        folder = self.dir / name
        self.succeed("convert", TINY, "-o", folder, "--target", "exact", "--no-sync", *flags)
        return folder

    def test_streams_what_generate_says(self):
        self.start()
        self.picture("empty")
        self.assertFalse(self.browser.evaluate("state.chat"), "no template: a text is continued")
        self.set(temperature=0.9, top_p=0.95, seed=3, max_tokens=30)
        self.browser.evaluate("""window.lengths = []; new MutationObserver(() => lengths.push(
            document.querySelector('.answer .text').textContent.length)).observe($('thread'), {subtree: true, childList: true})""")
        self.say(PROMPT)
        self.wait()
        wanted = generated(PROMPT, "--temperature", "0.9", "--top-p", "0.95", "--seed", "3", "--max-tokens", "30")
        self.assertEqual(self.browser.evaluate(ANSWERS), [wanted["text"]])
        self.assertGreater(self.browser.evaluate("new Set(lengths).size"), 10, "it did not come in pieces")
        self.assertIn("30 tokens", self.browser.evaluate("document.querySelector('.foot').textContent"))
        self.picture("one")
        self.browser.evaluate("document.querySelector('.foot button').click()")
        self.assertEqual(self.browser.evaluate("$('input').value"), PROMPT + wanted["text"])

    def test_chat_remembers_and_starts_anew(self):
        server = self.start()
        self.browser.evaluate("$('mode-chat').click()")
        self.set(temperature=0, max_tokens=6)
        self.say("In the")
        self.wait()
        self.say("and")
        self.wait()
        first, second = self.browser.evaluate(ANSWERS)
        body = {"temperature": 0, "max_tokens": 6, "messages": [
            {"role": "user", "content": "In the"}, {"role": "assistant", "content": first},
            {"role": "user", "content": "and"}]}
        self.assertEqual(second, server.ask("/v1/chat/completions", body)[2]["choices"][0]["message"]["content"])
        self.picture("chat")
        self.browser.evaluate("$('clear').click()")
        self.assertEqual(self.browser.evaluate(ANSWERS), [])

    def test_stops(self):
        server = self.start("--max-context", "100000")
        self.set(max_tokens=50000, temperature=1)
        for stop in ("$('go').click()", None):
            self.say(PROMPT)
            self.browser.until("document.querySelector('.answer.running .text')?.textContent.length > 20")
            self.assertEqual(self.browser.evaluate("$('go').textContent"), "Stop")
            self.browser.evaluate(stop) if stop else self.browser.key("Escape")
            self.wait()
            self.assertIn("you stopped it", self.browser.evaluate("[...document.querySelectorAll('.foot')].at(-1).textContent"))
            self.assertTrue(server.settles(lambda: server.metric("weightbridge_texts_running") == 0, 5))

    def test_two_models_that_are_the_same(self):
        self.start("--beside", self.convert("exact-copy"))
        self.picture("empty-beside")
        self.assertTrue(self.browser.evaluate("state.both"))
        self.set(temperature=0.9, seed=5, max_tokens=40)
        self.say(PROMPT)
        self.wait()
        one, two = self.browser.evaluate(ANSWERS)
        self.assertEqual(one, two)
        self.assertEqual(one, generated(PROMPT, "--temperature", "0.9", "--top-p", "0.95", "--seed", "5",
                                        "--max-tokens", "40", "--no-speculation")["text"])
        self.assertEqual(self.browser.evaluate("document.querySelectorAll('.text .same').length"), 80)
        self.assertIn("All 40 tokens are the same", self.browser.evaluate("document.querySelector('.verdict').textContent"))
        self.assertIn("0.000 points", self.browser.evaluate("document.querySelector('.verdict').textContent"))
        self.picture("same")

    def test_two_models_that_differ(self):
        server = self.start("--beside", self.convert("six-bits", "--bits", "6"))
        self.set(temperature=0.9, seed=5, max_tokens=40)
        self.say(PROMPT)
        self.wait()
        body = {"prompt": PROMPT, "temperature": 0.9, "top_p": 0.95, "seed": 5, "max_tokens": 40,
                "return_token_ids": True}
        one, two = (server.complete(model=m, **body)["choices"][0]["token_ids"] for m in server.facts["models"])
        first = next(i for i in range(40) if one[i] != two[i])
        self.assertGreater(first, 0)
        self.assertEqual(self.browser.evaluate("document.querySelectorAll('.text .same').length"), 2 * first)
        self.assertEqual(self.browser.evaluate("document.querySelectorAll('.text .first').length"), 2)
        self.assertIn("First difference at token %d" % (first + 1),
                      self.browser.evaluate("document.querySelector('.verdict').textContent"))
        self.assertRegex(self.browser.evaluate("document.querySelector('.text .first').title"),
                         r"token \d+: .* % by tiny-deepseek, .* % by six-bits")
        self.picture("different")
        self.browser.window(1200, 800, dark=True)
        self.picture("different-dark")
        self.browser.window(360, 740)
        self.fits()
        self.picture("different-narrow")
        self.browser.evaluate("$('knobs-button').click()")
        self.fits()
        self.picture("parameters-narrow")
        self.browser.window(1200, 800)
        self.picture("parameters")

    def test_text_is_text(self):
        """Nothing that a model or a person says becomes part of the page."""
        self.start("--name", "<img src=x onerror=alert(1)>")
        self.set(max_tokens=3)
        said = "<b>bold</b><script>window.bad = 1</scr" + "ipt>"
        self.say(said)
        self.wait()
        self.assertEqual(self.browser.evaluate("document.querySelector('.prompt').textContent"), said)
        self.assertEqual(self.browser.evaluate("document.querySelectorAll('main b, main script, main img').length"), 0)
        self.assertIn("<img", self.browser.evaluate("document.querySelector('.answer h3').textContent"))
        self.fits()

    def test_the_policy_holds(self):
        """A script that got into the page would not run, nor reach another server."""
        self.start()
        self.browser.evaluate("""(() => { const s = document.createElement('script'); s.textContent = 'window.bad = 1';
            document.body.append(s); document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.bad = 1">'); })()""")
        self.assertEqual(self.browser.evaluate("new Promise(r => setTimeout(() => r(window.bad), 300))"), None)
        self.assertEqual(self.browser.evaluate("fetch('http://127.0.0.1:1/').then(() => 1, () => 0)"), 0)
        self.assertGreater(len(self.browser.complaints()), 2, "the policy forbade nothing")
        self.browser.events.clear()

    def test_errors_are_said(self):
        server = Server("--api-key", "k", "--max-context", "20")
        self.addCleanup(server.stop)
        self.browser.open("http://127.0.0.1:%d/" % server.port)
        self.browser.until("!$('key-row').hidden")
        self.assertIn("API key", self.browser.evaluate("$('thread').textContent"))
        self.browser.evaluate("$('key').value = 'k'; $('key').dispatchEvent(new Event('change'))")
        self.browser.until("state.models.length > 0")
        self.set(max_tokens=50)
        self.say(PROMPT)
        self.wait()
        self.assertIn("at most 20", self.browser.evaluate("document.querySelector('.error').textContent"))
        self.picture("error")
        self.browser.events.clear()  # 401 and 400 are errors to the browser's log


if not CHROMIUM:
    print("SKIPPED: chromium is missing: the page was not opened")
    sys.exit(77)
if __name__ == "__main__":
    unittest.main()
