"""recipes new, against recipes that people wrote: drafted from names and shapes alone, with its
questions answered by what the written recipe says, a draft has to make the same tensors and the
same config, byte for byte. Orders of parts have no counterpart in a written recipe; there, one of
the answers that the draft offers has to be it.

A layout that needs a hand edit says why in BY_HAND, and is held to needing it."""
import itertools
import json
import re
import shlex
import shutil
import unittest

from program import SOURCE_DIR, TINY, ProgramTest, read_safetensors, weightbridge

GALLERY = SOURCE_DIR / "tests" / "fixtures" / "gallery"
RUNTIME = SOURCE_DIR / "tests" / "fixtures" / "runtime"
# YaRN, linear scaling, one rotation over all heads, a second softmax scale: they leave no trace in
# weights. The draft assumes none and says so, or asks when it is to ask all.
ASK_ALL = {"torchtitan-v3", "mini-vllm", "apt-lightning", "build-a-deepseek"}
BY_HAND = {
    "vineet-llm": "the query matrix is read in another order of its elements, and the output "
                  "projection is multiplied into the values; no shape and no name says either",
    "deepseekv3-minimal": "attention reads y - mean(y) + 1, which is folded into two matrices; no name says so",
    "deepseek-lightning": "the content matrices have rows for the whole head, and those of the rotated part are read "
                          "by nothing; no shape and no name says so",
    "nmoe": "the embedding and the logits have factors, which are multiplied into the weights; no name says so",
    "deepseek-v3-int8": "a shared expert in the router's divisor, a constant on the latent, and a table that "
                        "loading puts over the tied embedding",
}


def field(spec, path):
    for part in path.split("."):
        spec = spec[part]
    return spec


class Drafts(ProgramTest):
    drafts = itertools.count()

    def draft(self, source, *arguments):
        path = self.dir / f"draft-{next(self.drafts)}.toml"
        document = self.document("recipes", "new", source, "-o", path, *arguments)
        self.succeed("recipes", "check", path)
        return path, document

    def answered(self, path, document, spec):
        """Fills fields in the file; returns the settings that the spec answers and the orders."""
        text = path.read_text()
        known, orders = {}, {}
        from_spec = {"num_attention_heads": lambda: field(spec, "attention.num_attention_heads"),
                     "num_experts_per_tok": lambda: field(spec, "router.num_experts_per_tok"),
                     "rotation": lambda: 1 if field(spec, "attention.qk_rope_head_dim") else 2}
        for question in document["questions"]:
            key = question["key"]
            if question["kind"] == "field":
                text, n = re.subn(r'(?m)^(%s = )"\?"' % re.escape(key),
                                  lambda m: m.group(1) + json.dumps(field(spec, key)), text)
                self.assertEqual(n, 1, key)
            elif key in from_spec:
                known[key] = from_spec[key]()
            else:
                orders[key] = range(1, 1 + len(question["values"]))
        path.write_text(text)
        return known, orders

    def converted(self, source, recipe, out, settings):
        sets = [word for key, value in settings.items() for word in ("--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}")]
        run = weightbridge("convert", source, "--recipe", recipe, "--target", "exact", "--mtp", "keep",
                           "--no-sync", "-o", out, *sets)
        if run.returncode != 0:
            return None, run.stderr
        files = {name: (out / name).read_bytes() for name in ("model.safetensors", "config.json")}
        shutil.rmtree(out)
        return files, ""

    @staticmethod
    def arithmetic(config):
        """What is computed: the longest sequence is no part of it where positions are not learned,
        and neither are fields of parts that the model does not have."""
        config = json.loads(config)
        if config["positions"] == "none":
            del config["max_position_embeddings"]
        return config

    @staticmethod
    def differences(got, want):
        fields = [(k, v, got["config.json"].get(k)) for k, v in want["config.json"].items()
                  if got["config.json"].get(k) != v]
        same = got["model.safetensors"] == want["model.safetensors"]
        return f"the tensors are {'' if same else 'not '}the same; {fields}"

    def check(self, source, recipe, settings=None, more=()):
        arguments = [word for key, value in (settings or {}).items()
                     for word in ("--set", f"{key}={value}")]
        spec = self.document("inspect", source, "--recipe", recipe, *arguments)["spec"]
        want, problem = self.converted(source, recipe, self.dir / "want", settings or {})
        self.assertIsNotNone(want, problem)
        path, document = self.draft(source, *more)
        self.assertEqual(document["unknown"], [], document["notes"])
        known, orders = self.answered(path, document, spec)
        problems = []
        want["config.json"] = self.arithmetic(want["config.json"])
        for choice in itertools.product(*orders.values()):
            answers = {**known, **dict(zip(orders, choice))}
            got, problem = self.converted(source, path, self.dir / "got", answers)
            if got is not None:
                got["config.json"] = self.arithmetic(got["config.json"])
            if got == want:
                return document
            problems.append((0 if got is None else sum(got[n] == want[n] for n in got) + 1,
                             f"{answers}: {problem or self.differences(got, want)}"))
        self.fail(max(problems)[1])

    def test_the_sample(self):
        document = self.check(TINY, "deepseek-from-scratch")
        self.assertEqual(document["recognised"], "deepseek-from-scratch")
        self.assertEqual(document["dims"]["num_attention_heads"], 4)

    def test_the_commands_that_it_names_can_be_copied(self):
        draft = self.dir / "it's mine.toml"  # self.dir has a space, too
        said = self.succeed("recipes", "new", TINY, "-o", draft).stdout
        commands = [shlex.split(line) for line in said.splitlines() if line.startswith("    weightbridge ")]
        self.assertEqual([c[1:3] for c in commands], [["recipes", "solve"], ["plan", str(TINY)]])
        for command in commands:
            self.assertEqual(command[command.index("--recipe") + 1], str(draft))

    def test_the_fixtures(self):
        for path in sorted(RUNTIME.glob("reference.*.safetensors")):
            if ".golden." in path.name:
                continue
            with self.subTest(path.name):
                self.check(path, "deepseek-from-scratch")

    def test_the_gallery(self):
        for golden in sorted(GALLERY.glob("*.golden.safetensors")):
            name = golden.name.removesuffix(".golden.safetensors")
            facts = read_safetensors(golden)[1]
            settings = {key: str(value).lower() if isinstance(value, bool) else value for key, value in
                        json.loads(facts["settings"]).items()}
            files = GALLERY / f"{name}.pt", SOURCE_DIR / "recipes" / f"{facts.get('recipe', name)}.toml"
            with self.subTest(name):
                if name not in BY_HAND:
                    self.check(*files, settings, ["--ask-all"] if name in ASK_ALL else [])
                    continue
                # By hand is what is computed: each tensor has a place, and the draft is a recipe.
                self.assertEqual(self.draft(files[0])[1]["unknown"], [])
                with self.assertRaises(AssertionError, msg="it needs no hand edit any more"):
                    self.check(*files, settings)


if __name__ == "__main__":
    unittest.main()
