"""The gallery: every recipe with a witness in tests/fixtures/gallery is recognised, accounts
for every tensor, and agrees with PyTorch (source, exact folder, class file); no setting can
be wrong unseen; what only looks like a known layout is not taken for it. Needs numpy."""
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import unittest
from concurrent.futures import ThreadPoolExecutor

from gallery_flips import dead, equivalent, flips
from program import SOURCE_DIR, ProgramTest, read_safetensors, weightbridge

GALLERY = SOURCE_DIR / "tests" / "fixtures" / "gallery"
RECIPES = SOURCE_DIR / "recipes"
BOUND = 1e-4
sys.path.insert(0, str(SOURCE_DIR / "tests" / "mlx"))


class Entry:
    """One gallery model: its checkpoint, its golden file, and what weights can't tell."""

    def __init__(self, golden):
        self.golden = golden
        self.name = golden.name.removesuffix(".golden.safetensors")
        self.recipe = RECIPES / f"{self.name}.toml"
        self.source = GALLERY / f"{self.name}.pt"
        facts = read_safetensors(golden)[1]
        self.settings = json.loads(facts["settings"])
        self.layers = int(facts["layers"])

    def sets(self, changes=()):
        return [a for k, v in {**self.settings, **dict(changes)}.items()
                for a in ("--set", f"{k}={str(v).lower() if isinstance(v, bool) else v}")]


ENTRIES = [Entry(path) for path in sorted(GALLERY.glob("*.golden.safetensors"))]


def model_fields():
    """path -> kind, values of every field of [model], from the table in docs/recipes.md."""
    text = (SOURCE_DIR / "docs" / "recipes.md").read_text()
    table = text[text.index("## The fields of `[model]`"):]
    words = {m[1]: re.findall(r"`(\w+)`", m[2]) for m in
             re.finditer(r"`(kind|activation)` is ([^;.]*)[;.]", table)}
    groups = {"a norm": {"kind": words["kind"], "eps": "number", "eps_outside_root": "bool", "bias": "bool"},
              "a network": {"activation": words["activation"], "gated": "bool",
                            "intermediate_size": "whole number", "bias": "bool"}}
    out = {}
    for path, values in re.findall(r"^\| `([\w.]+)` \| ([^|]*) \|", table, re.M):
        if values in groups:
            out.update({f"{path}.{k}": v for k, v in groups[values].items()})
        elif values == "true, false":
            out[path] = "bool"
        else:
            names = re.findall(r"`(\w+)`", values)
            out[path] = names or values.strip()
    return out


FIELDS = model_fields()
OWN_KEYS = {"dense.intermediate_size": "intermediate_size", "moe.routed.intermediate_size": "moe_intermediate_size",
            "router.num_experts_per_tok": "num_experts_per_tok", "router.norm_topk_prob": "norm_topk_prob",
            "router.routed_scaling_factor": "routed_scaling_factor", "router.n_group": "n_group",
            "router.topk_group": "topk_group"}


def spec_of(folder):
    """path -> value, from an exact folder's config.json (docs/exact-class.md)."""
    config = json.loads((folder / "config.json").read_text())
    return {path: config[OWN_KEYS.get(path) or re.sub(r"^(attention|moe)\.", "", path).replace(".", "_")]
            for path in FIELDS}


class GalleryTest(ProgramTest):
    def convert(self, entry, *more):
        folder = self.dir / entry.name
        self.succeed("convert", entry.source, "-o", folder, "--target", "exact", "--dtype", "f32", "--no-sync",
                     *entry.sets(), *more)
        return folder

    def each(self, use):
        # WB_GALLERY=NAME ... looks at these alone.
        only = os.environ.get("WB_GALLERY", "").split()
        for entry in (e for e in ENTRIES if not only or e.name in only):
            with self.subTest(entry.name):
                use(entry)


class Agreement(GalleryTest):
    def test_there_are_enough(self):
        self.assertGreaterEqual(len(ENTRIES), 8)

    def test_recognised_and_every_tensor_accounted_for(self):
        def use(entry):
            plan = self.document("plan", entry.source, *entry.sets())
            self.assertEqual(plan["recipe"], entry.name)
            fates = {row["fate"] for row in plan["account"]}
            self.assertLessEqual(fates, {"used", "alias", "left out", "left_out", "outside"}, fates)
            self.assertEqual(len(plan["account"]), plan["sums"]["source_entries"])
        self.each(use)

    def test_source_and_folder_agree_with_pytorch(self):
        def use(entry):
            folder = self.convert(entry)
            run = weightbridge("verify", entry.source, folder, *entry.sets(), "--tokens", entry.golden, "--reference",
                               entry.golden, "--json")
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
            found = json.loads(run.stdout)
            self.assertLessEqual(found["reference"]["logits"]["max_abs"], BOUND)
            self.assertEqual(len(found["reference"]["hidden"]), entry.layers)
            for state in found["reference"]["hidden"] + [found["reference"]["final_hidden"]]:
                self.assertLessEqual(state["max_abs"], BOUND)
            self.assertLessEqual(found["comparison"]["logits"]["max_abs"], BOUND)
        self.each(use)

    def test_the_class_on_the_stand_in(self):
        import numpy as np
        from folder import read_safetensors as read_arrays
        from run_exact_class import load_model, logits_by_steps, logits_whole

        def use(entry):
            model = load_model(str(self.convert(entry)))
            golden = read_arrays(str(entry.golden))
            tokens = np.atleast_2d(golden["tokens"]).astype(np.int32)
            for logits in (logits_whole(model, tokens), logits_by_steps(model, tokens)):
                self.assertLessEqual(np.abs(logits.reshape(golden["logits"].shape) - golden["logits"]).max(), BOUND)
        self.each(use)


class RealMlx(GalleryTest):
    def test_the_class_on_real_mlx(self):
        work = os.environ.get("WB_MLX_WORK") or os.path.join(tempfile.gettempdir(), "weightbridge-mlx")
        skipped = []

        def use(entry):
            run = subprocess.run(["sh", SOURCE_DIR / "tests" / "mlx_live" / "run.sh", work, self.convert(entry),
                                  entry.golden, str(BOUND)], encoding="utf-8", stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT)
            if run.returncode == 77:
                skipped.append(f"{entry.name}: {run.stdout.strip()}")
            else:
                self.assertEqual(run.returncode, 0, run.stdout)
        self.each(use)
        if skipped:
            self.skipTest("\n".join(skipped))


def dump_toml(table, indent=""):
    """A recipe as parsed, back as TOML: every nested table inline."""
    def value(v):
        if isinstance(v, bool):
            return "true" if v else "false"
        if isinstance(v, dict):
            return "{ " + ", ".join(f"{json.dumps(k)} = {value(x)}" for k, x in v.items()) + " }"
        if isinstance(v, list):
            return "[" + ", ".join(map(value, v)) + "]"
        return json.dumps(v, ensure_ascii=False) if isinstance(v, str) else repr(v)
    plain = [f"{k} = {value(v)}" for k, v in table.items() if not isinstance(v, dict)]
    for section, members in table.items():
        if isinstance(members, dict):
            plain += [f"[{section}]"] + [f"{json.dumps(k)} = {value(v)}" for k, v in members.items()]
    return "\n".join(plain) + "\n"


class WrongSettings(GalleryTest):
    """Each setting alone at another value: verify --reference fails, or the recipe is refused."""

    def flipped(self, entry, path, value):
        recipe = tomllib.loads(entry.recipe.read_text())
        table = recipe["model"]
        *groups, last = path.split(".")
        for group in groups:
            table = table.setdefault(group, {})
        table[last] = value
        file = self.dir / "flips" / f"{entry.name}-{path}-{value}.toml"
        file.write_text(dump_toml(recipe))
        return file

    def outcome(self, entry, folder, recipe, sets):
        """None when the wrong setting is caught; else what verify said."""
        more = ["--recipe", recipe, *sets]
        run = weightbridge("verify", entry.source, folder, *more, "--tokens", entry.golden, "--reference",
                           entry.golden, "--json")
        if run.returncode == 1:
            found = json.loads(run.stdout)["reference"]
            return None if not found["agrees"] else f"the reference agrees: {found['logits']['max_abs']:.3g}"
        if run.returncode == 0:
            return "verified"
        # Refused before anything ran: the recipe itself must be what is refused.
        alone = weightbridge("logits", entry.source, *more, "--tokens", entry.golden, "-o",
                             self.dir / "flips" / f"{recipe.stem}.out")
        return None if alone.returncode in (2, 3) else f"verify refuses, logits does not: {run.stdout}"

    def check(self, entry):
        folder = self.convert(entry)
        spec = spec_of(folder)
        tries = []
        for path, kind in FIELDS.items():
            if dead(spec, path):
                continue
            for value in flips(path, kind, spec[path]):
                if not equivalent(entry.name, spec, path, value):
                    tries.append((f"{path} = {value}", self.flipped(entry, path, value), entry.sets()))
        for key, ask in tomllib.loads(entry.recipe.read_text()).get("ask", {}).items():
            now = entry.settings.get(key, ask["default"])
            for value in flips(key, ask.get("choices", type(now)), now):
                if not equivalent(entry.name, spec, "ask." + key, value):
                    tries.append((f"--set {key}={value}", entry.recipe, entry.sets({key: value})))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            outcomes = pool.map(lambda t: self.outcome(entry, folder, t[1], t[2]), tries)
        accepted = [f"{what}: {said}" for (what, _, _), said in zip(tries, outcomes) if said]
        self.assertEqual(accepted, [], f"{len(tries)} wrong settings, of which these were accepted")

    def test_none_is_accepted(self):
        (self.dir / "flips").mkdir()
        self.each(self.check)


if __name__ == "__main__":
    result = unittest.main(verbosity=1, exit=False).result
    sys.exit(1 if not result.wasSuccessful() else 77 if result.skipped else 0)
