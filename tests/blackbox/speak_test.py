"""generate and bench through the program: sampling, stops, speculation, and what they refuse."""
import json
import unittest

from program import TINY, ProgramTest, weightbridge


class Generate(ProgramTest):
    def said(self, *flags, model=TINY):
        run = self.succeed("generate", model, "--prompt", "In the beginning", "--json", *flags)
        return json.loads(run.stdout)

    def test_the_same_with_and_without_guesses(self):
        plain = self.said("--max-tokens", "50", "--no-speculation")
        guessed = self.said("--max-tokens", "50", "--threads", "1")
        self.assertEqual(plain["tokens"], guessed["tokens"])
        self.assertNotIn("speculation", plain)
        found = guessed["speculation"]
        self.assertGreater(found["accepted"], 0)
        self.assertLessEqual(found["accepted"], found["drafted"])
        self.assertEqual(plain["finish_reason"], "length")
        self.assertEqual(len(plain["tokens"]), 50)

    def test_quantised_folders_speak_too(self):
        folder = self.dir / "quantised"
        self.succeed("convert", TINY, "-o", folder, "--target", "exact", "--bits", "8", "--no-sync")
        self.assertEqual(len(self.said("--max-tokens", "10", model=folder)["tokens"]), 10)

    def test_stop_strings_end_the_text_before_them(self):
        whole = self.said("--max-tokens", "40")["text"]
        word = whole.split()[3]
        stopped = self.said("--max-tokens", "40", "--stop", "never said", "--stop", word)
        self.assertEqual(stopped["text"], whole[:whole.index(word)])
        self.assertEqual(stopped["finish_reason"], "stop")

    def test_seeds(self):
        warm = ["--max-tokens", "20", "--temperature", "1.5", "--top-k", "50", "--top-p", "0.9"]
        one, again, other = (self.said(*warm, "--seed", s)["tokens"] for s in "112")
        self.assertEqual(one, again)
        self.assertNotEqual(one, other)

    def test_text_streams_and_timing_is_a_remark(self):
        run = self.succeed("generate", TINY, "--prompt", "In the beginning", "--max-tokens", "5")
        self.assertEqual(run.stdout, self.said("--max-tokens", "5")["text"] + "\n")
        self.assertIn("5 tokens after a prompt of", run.stderr)

    def test_refusals(self):
        for flags, words in [(["--temperature", "-1"], "temperature"), (["--top-p", "0"], "top_p")]:
            run = weightbridge("generate", TINY, "--prompt", "x", *flags)
            self.assertEqual(run.returncode, 2, run.stderr)
            self.assertIn(words, run.stderr)
        run = weightbridge("generate", TINY, "--prompt", "")
        self.assertEqual(run.returncode, 2)


class Bench(ProgramTest):
    def test_rates_beside_rooflines(self):
        run = self.succeed("bench", TINY, "--prompt", "8,32", "--decode", "4", "--context", "2", "--repeat", "1",
                           "--json")
        found = json.loads(run.stdout)
        self.assertEqual([r["test"] for r in found["results"]], ["prompt 8", "prompt 32", "decode 4 at 2"])
        for r in found["results"]:
            self.assertGreater(r["tokens_per_second"], 0)
            self.assertAlmostEqual(r["part_of_roofline"], r["tokens_per_second"] / r["roofline"], 6)
        text = self.succeed("bench", TINY, "--prompt", "8", "--decode", "4", "--repeat", "1").stdout
        self.assertIn("of weights", text)
        self.assertEqual(weightbridge("bench", TINY, "--prompt", "100000").returncode, 2)


if __name__ == "__main__":
    unittest.main()
