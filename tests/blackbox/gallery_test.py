"""The gallery: every recipe with a witness in tests/fixtures/gallery is recognised, accounts
for every tensor, and agrees with PyTorch (source, exact folder, class file); no setting can
be wrong unseen; what only looks like a known layout is not taken for it. Needs numpy."""
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest
from concurrent.futures import ThreadPoolExecutor

from gallery_axes import AXES, NOT_IN_THE_GALLERY, Model
from gallery_flips import HIDDEN_FINAL_NORM, dead, equivalent, final_norm_change, flips
from program import SANITIZED, SOURCE_DIR, ProgramTest, read_safetensors, weightbridge, write_safetensors

GALLERY = SOURCE_DIR / "tests" / "fixtures" / "gallery"
RECIPES = SOURCE_DIR / "recipes"
BOUND = 1e-4
sys.path.insert(0, str(SOURCE_DIR / "tests" / "mlx"))


class Entry:
    """One gallery model: its checkpoint, its golden file, and what weights can't tell."""

    def __init__(self, golden):
        self.golden = golden
        self.name = golden.name.removesuffix(".golden.safetensors")
        facts = read_safetensors(golden)[1]
        self.recipe = RECIPES / f"{facts.get('recipe', self.name)}.toml"
        self.source = GALLERY / f"{self.name}.pt"
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


def config_key(path):
    return OWN_KEYS.get(path) or re.sub(r"^(attention|moe)\.", "", path).replace(".", "_")


def spec_of(folder):
    """path -> value, from an exact folder's config.json (docs/exact-class.md)."""
    config = json.loads((folder / "config.json").read_text())
    return {path: config[config_key(path)] for path in FIELDS}


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
            self.assertEqual(plan["recipe"], entry.recipe.stem)
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


def axes_variants():
    """What no gallery model has must be a switch of the class's own test (tests/mlx/test_axes.py):
    its variants' names -> the same fields as spec_of()."""
    from test_axes import BASE, VARIANTS
    return {name: {path: {**BASE, **changes}[config_key(path)] for path in FIELDS}
            for name, changes in VARIANTS.items()}


def values_met(specs):
    """(field, value in words) -> names of the models that have it, for words and booleans that
    enter the arithmetic of the model."""
    met = {}
    for path, kind in FIELDS.items():
        for value in kind if isinstance(kind, list) else [True, False] if kind == "bool" else []:
            met[path, str(value).lower()] = [name for name, spec in specs.items()
                                             if spec[path] == value and not dead(spec, path)]
    return met


def where_met(met, elsewhere, path, value):
    """What meets a value, in words; "" when nothing does."""
    if met[path, value]:
        return ", ".join(met[path, value])
    if elsewhere[path, value]:
        return "tests/mlx/test_axes.py: " + elsewhere[path, value][0]
    if path.startswith("mtp_"):  # no part of the logits
        return "tests/unit/runtime: multi-token heads of the sample's layout"
    # Activations are one table for all networks: met in one is met.
    others = [p for p, v in met if p != path and p.endswith("activation") and path.endswith("activation")
              and v == value and (met[p, v] or elsewhere[p, v])]
    return f"in `{others[0]}`" if others else ""


def coverage_table(met, elsewhere):
    return "\n".join(["| field | value | met by |", "|---|---|---|"] +
                     [f"| `{path}` | {value} | {where_met(met, elsewhere, path, value)} |" for path, value in met]) + "\n"


class Coverage(GalleryTest):
    def test_every_value_is_met_and_the_table_says_by_what(self):
        specs = {entry.name: spec_of(self.convert(entry)) for entry in ENTRIES}
        met = values_met(specs)
        elsewhere = values_met(axes_variants())
        missing = [f"{path} = {value}" for path, value in met if not where_met(met, elsewhere, path, value)]
        self.assertEqual(missing, [], "no gallery model has these, nor a variant of tests/mlx/test_axes.py")
        table, readme = coverage_table(met, elsewhere), GALLERY / "README.md"
        if os.environ.get("WB_WRITE_TABLE"):
            text = readme.read_text()
            readme.write_text(text[:text.index("| field | value |")] + table)
        self.assertIn(table, readme.read_text(), "WB_WRITE_TABLE=1 writes it anew")


def flat(spec):
    """path -> value, of a description as inspect prints it."""
    def at(path):
        value = spec
        for part in path.split("."):
            value = value[part]
        return value
    return {path: at(path) for path in FIELDS}


def axes_table(met):
    return "\n".join(["| axis | value | met by |", "|---|---|---|"] +
                     [f"| {axis} | {value} | {by} |" for (axis, value), by in met.items()]) + "\n"


class Axes(GalleryTest):
    """The gallery against the axes of docs/variety.md, which was read from public code before there was
    a gallery: each value is met by a recipe with a witness, or is on the list of those that are not."""

    def models(self):
        for entry in ENTRIES:
            inspected = self.document("inspect", entry.source, *entry.sets())
            yield Model(entry.name, flat(inspected["spec"]), inspected, entry.recipe)
        # The published layouts, whose witness is real MLX (published_test.py).
        from published_test import fp8, golden, official, v2, write, write_shards
        arrays, config = golden("deepseek_v3-yarn-groups")
        quantised = {**config, "quantization_config": {"quant_method": "fp8", "weight_block_size": [16, 48]}}
        bits = {**fp8(arrays, "weight_scale_inv", 16, 48)[0]}
        for name, how, source in (
                ("hf-deepseek-v3", "", write(self.dir / "v3", arrays, config)),
                ("hf-deepseek-v3", " in shards", write_shards(self.dir / "shards", arrays, config)),
                ("hf-deepseek-v3", " in FP8", write(self.dir / "fp8", bits, quantised)),
                ("hf-deepseek-v2", "", write(self.dir / "v2", *v2())),
                ("deepseek-official", "", write(self.dir / "official", *official(arrays, config)))):
            inspected = self.document("inspect", source)
            self.assertEqual(inspected["recipe"], name)
            yield Model(name + how, flat(inspected["spec"]), inspected, RECIPES / f"{name}.toml")

    def elsewhere(self, where, axis_value):
        """What tests a value that the gallery has not, in words; "" when nothing does."""
        if where == "axes":
            test = next(t for a, v, t in AXES if (a, v) == axis_value)
            found = [n for n, spec in axes_variants().items() if test(Model(n, spec))]
            return f"not met; tests/mlx/test_axes.py: {found[0]}" if found else ""
        file, _, test = where.partition(": ")
        return f"not met; {where}" if test and re.search(rf"\b{test}\b", (SOURCE_DIR / file).read_text()) else ""

    def test_each_value_is_met_or_said_not_to_be(self):
        models = list(self.models())
        met = {}
        for axis, value, test in AXES:
            self.assertNotIn((axis, value), met)
            # Another form of the same layout counts as a container alone.
            having = [m.name for m in models if test(m) and (axis == "container" or " in " not in m.name)]
            met[axis, value] = ", ".join(having)
        self.assertEqual({k for k, by in met.items() if not by}, set(NOT_IN_THE_GALLERY))
        for key, where in NOT_IN_THE_GALLERY.items():
            met[key] = self.elsewhere(where, key)
            self.assertTrue(met[key], f"{key}: {where}")
        table, readme = axes_table(met), GALLERY / "README.md"
        if os.environ.get("WB_WRITE_TABLE"):
            text = readme.read_text()
            begin, end = text.index("| axis | value |"), text.index("## Which values are met")
            readme.write_text(text[:begin] + table + "\n" + text[end:])
        self.assertIn(table, readme.read_text(), "WB_WRITE_TABLE=1 writes it anew")

    def test_no_value_is_met_by_every_model(self):
        # A test that every model passes tells nothing of any.
        models = list(self.models())
        always = [f"{axis}: {value}" for axis, value, test in AXES if all(test(m) for m in models)]
        self.assertEqual(always, [])


class Wrapped(GalleryTest):
    """The same weights however they were saved. Needs PyTorch."""

    def test_under_any_key_beside_anything(self):
        import argparse

        import torch
        state = torch.load(GALLERY / "gpt-moe.pt", map_location="cpu")
        sets = next(e for e in ENTRIES if e.name == "gpt-moe").sets()

        def folder(source, name):
            self.succeed("convert", source, "-o", self.dir / name, "--target", "exact", "--no-sync", *sets)
            return (self.dir / name / "model.safetensors").read_bytes()
        want = folder(GALLERY / "gpt-moe.pt", "want")
        for key in ("state_dict", "quant_state"):
            with self.subTest(key):
                path = self.dir / f"{key}.pt"
                config = argparse.Namespace(n_heads=3, top_k=3)  # a pickled class: inert, never built
                moments = {i: {"exp_avg": torch.ones_like(t)} for i, t in enumerate(state.values())}
                torch.save({"config": config, "optimizer": {"state": moments}, "step": 5,
                            key: {"module._orig_mod." + k: t for k, t in state.items()}}, path)
                self.assertEqual(self.document("inspect", path, *sets)["prefix"], f"{key}.module._orig_mod.")
                self.assertEqual(folder(path, f"{key} folder"), want)


class Traps(GalleryTest):
    """Names that look like a known layout but mean something else; models of a kind that is
    refused by name. Needs PyTorch."""

    def altered(self, name, change, under=()):
        """The gallery's checkpoint with `change` applied to its state dict."""
        import torch
        saved = torch.load(GALLERY / f"{name}.pt", map_location="cpu")
        state = saved
        for key in under:
            state = state[key]
        change(state)
        path = self.dir / f"{name}.pt"
        torch.save(saved, path)
        return path

    def not_taken(self, path, code="recipe_unknown"):
        return self.fail_with(3, code, "plan", path)

    def test_another_norm_or_projection_is_another_layout(self):
        import torch
        extra = {
            # The published latent is normed; the published query path is of low rank.
            ("smol-deepseek", "model_state"): {"model.layers.0.self_attn.kv_a_layernorm.weight": 5},
            # A norm before the head, which this layout has not.
            ("mla-experiments",): {"norm.weight": 24},
            # A gate on a shared expert, as other models with norms per head have it.
            ("minimind",): {"model.layers.0.mlp.shared_expert_gate.weight": 20},
            # A learned mix of earlier outputs in place of the residual stream.
            ("quipu-moe",): {"attnres.queries.0": 24},
            # Something between the two layers of the network.
            ("gpt-mla",): {"trf_blocks.0.ff.layers.1.weight": 96},
            # Gated experts under the names of the ones without a gate.
            ("deepseekv3-minimal", "model_state_dict"): {"layers.0.moe.experts.0.gate.weight": 44},
        }
        for (name, *under), tensors in extra.items():
            with self.subTest(name):
                change = {k: torch.ones(n) for k, n in tensors.items()}
                self.not_taken(self.altered(name, lambda state: state.update(change), under))

    def test_shapes_that_say_something_else(self):
        # kv_b_proj with keys and values, as published: twice as tall as keys alone.
        def both(state):
            for l in range(2):
                key = f"model.layers.{l}.self_attn.kv_b_proj.weight"
                state[key] = state[key].repeat(2, 1)
        error = self.not_taken(self.altered("smol-deepseek", both, ["model_state"]), "dimension_mismatch")
        self.assertIn("q_proj", error["sentence"])  # its heads and those of kv_b_proj do not agree

        # Experts without a gate have c_fc once as wide.
        def ungated(state):
            for key in [k for k in state if "c_fc" in k]:
                state[key] = state[key][:7].clone()
        self.not_taken(self.altered("vineet-llm", ungated), "dimension_mismatch")

    def test_values_that_say_something_else(self):
        import torch

        def frequencies(state):
            for key in [k for k in state if k.endswith("inv_freq")]:
                state[key] = 1.0 / 500000.0 ** (torch.arange(0, 4, 2) / 4)
        path = self.altered("deepseekv3-minimal", frequencies, ["model_state_dict"])
        self.assertIn("rope frequencies", self.not_taken(path, "recipe_check_failed")["sentence"])

        def table(state):
            for key in [k for k in state if k.endswith("cos_cached")]:
                state[key] = state[key] ** 2
        self.not_taken(self.altered("mla-experiments", table), "recipe_check_failed")

    def test_a_model_that_is_not_causal(self):
        import torch

        def everything(state):
            for key in [k for k in state if k.endswith(("attn.bias", "causal_mask"))]:
                state[key] = torch.ones_like(state[key])
        for name, *under in (("smol-deepseek", "model_state"), ("deepseek-from-scratch",)):
            error = self.not_taken(self.altered(name, everything, under), "recipe_check_failed")
            self.assertIn("causal mask", error["sentence"])

    def refused(self, names, *axes):
        path = self.dir / "refused.safetensors"
        write_safetensors(path, {name: ("F32", [2, 2]) for name in names})
        error = self.fail_with(3, "model_refused", "convert", path, "-o", self.dir / "never")
        for axis in axes:
            self.assertIn(axis, error["sentence"])
        self.assertFalse((self.dir / "never").exists())

    def test_known_and_refused_by_name(self):
        moe = ["transformer.wte.weight", *(f"transformer.h.0.mlp.{t}" for t in
               ("router.w_g.weight", "experts.c_fc", "experts.c_proj"))]
        self.refused(moe, "capacity routing")
        self.refused([*moe, "transformer.h.0.mlp.router.w_noise.weight"], "random routing noise")
        kimi = ["embedding.weight", *(f"decoder.decoder.0.{t}.weight" for t in (
            "mha.heads.0.W_dkv", "mha.heads.0.query", "mha.linear", "moe_block.gate", "moe_block.heads.0.linear_layer1"))]
        self.refused(kimi, "attention across heads and layers")
        self.refused([*kimi, "decoder.decoder.0.moe_block.noise.weight"], "random routing noise")
        self.refused(["embed.weight", *(f"layers.0.attn.{t}_proj.weight" for t in ("q_down", "q_up", "kv_down", "kv_up")),
                      "layers.0.attn.out_proj.bias", "layers.0.ffn.gate.bias", "layers.0.ffn.experts.0.w1.bias"],
                     "activation")
        self.refused(["token_embedding.weight", *(f"layers.0.{t}.weight" for t in (
            "attn.to_kv_a", "attn.to_kv_b", "ffn.gate.linear", "ffn.expert.0.linear1", "ffn.share_expert.linear1"))],
            "residual stream")


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

    def flipped(self, entry, path, value, also=None):
        recipe = tomllib.loads(entry.recipe.read_text())
        recipe["model"].update(also or {})
        table = recipe["model"]
        *groups, last = path.split(".")
        for group in groups:
            table = table.setdefault(group, {})
        # What the field was made of stays in use: a setting that nothing reads is a mistake of its own.
        old, words = table.get(last), FIELDS[path]
        if isinstance(old, str) and not (isinstance(words, list) and old in words):
            text = str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else repr(value)
            value = f"if(true, {text}, {old})"
        table[last] = value
        file = self.dir / "flips" / f"{entry.name}-{path}-{len(list((self.dir / 'flips').iterdir()))}.toml"
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
        if "nothing uses it" in alone.stderr:
            return f"refused as a recipe, which says nothing of the setting: {alone.stderr}"
        return None if alone.returncode in (2, 3) else f"verify refuses, logits does not: {run.stdout}"

    def hidden_final_norm(self, entry, folder, spec):
        """Whether a final norm of its own, RMS with the default epsilon, is hidden by rounding: by
        calculation from the golden states, with the program held to the calculation."""
        from folder import read_safetensors as read_arrays
        golden = read_arrays(str(entry.golden))
        last = golden[f"hidden.{entry.layers - 1}"]
        states, logits = last.reshape(-1, last.shape[-1]), golden["logits"].reshape(-1, golden["logits"].shape[-1])

        def said(*more):
            run = weightbridge("verify", entry.source, folder, *more, *entry.sets(), "--tokens", entry.golden,
                               "--reference", entry.golden, "--json")
            self.assertIn(run.returncode, (0, 1), run.stdout + run.stderr)
            return json.loads(run.stdout)["reference"]
        own = said()
        explained = own["tolerances"]["logits_max_abs"]
        change = final_norm_change(spec, states, logits)
        found = said("--recipe", self.flipped(entry, "own_final_norm", True))["logits"]["max_abs"]
        self.assertLessEqual(abs(found - change), own["logits"]["max_abs"], "not what was calculated")
        # The switch is no dead letter: with an epsilon that the states' size does not hide, it is seen.
        recipe = self.flipped(entry, "own_final_norm", True, {"final_norm": {"kind": "rms", "eps": 1.0}})
        seen = said("--recipe", recipe)
        self.assertFalse(seen["agrees"])
        self.assertLessEqual(abs(seen["logits"]["max_abs"] - final_norm_change(spec, states, logits, 1.0)),
                             own["logits"]["max_abs"])
        return change <= explained

    def check(self, entry):
        folder = self.convert(entry)
        spec = spec_of(folder)
        tries = []
        hidden = set()
        if not dead(spec, "own_final_norm") and not equivalent(entry.name, spec, "own_final_norm", True) \
                and not spec["own_final_norm"] and spec["norm.kind"] == "rms":
            found = self.hidden_final_norm(entry, folder, spec)
            self.assertEqual(found, entry.name in HIDDEN_FINAL_NORM, "gallery_flips.py says otherwise")
            if found:
                hidden.add("own_final_norm")
        for path, kind in FIELDS.items():
            if dead(spec, path) or path in hidden:
                continue
            for value in flips(path, kind, spec[path]):
                if not equivalent(entry.name, spec, path, value):
                    tries.append((f"{path} = {value}", self.flipped(entry, path, value), entry.sets()))
        for key, ask in tomllib.loads(entry.recipe.read_text()).get("ask", {}).items():
            now = entry.settings.get(key, ask["default"])
            for value in flips(key, ask.get("choices", type(now)), now):
                if not equivalent(entry.name, spec, "ask." + key, value):
                    tries.append((f"--set {key}={value}", entry.recipe, entry.sets({key: value})))
        if SANITIZED:
            tries = tries[::4]  # ten times slower there, and the ordinary build tries them all
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            outcomes = pool.map(lambda t: self.outcome(entry, folder, t[1], t[2]), tries)
        accepted = [f"{what}: {said}" for (what, _, _), said in zip(tries, outcomes) if said]
        self.assertEqual(accepted, [], f"{len(tries)} wrong settings, of which these were accepted")

    def test_none_is_accepted(self):
        (self.dir / "flips").mkdir()
        self.each(self.check)


class Porting(GalleryTest):
    def test_every_command_of_the_walk(self):
        text = (SOURCE_DIR / "docs" / "porting.md").read_text()
        commands = [shlex.split(c) for c in re.findall(r"^ {4,}((?:weightbridge|cp) .*)$", text, re.M)]
        self.assertEqual(commands.pop(0)[0], "cp")
        for name in ("quipu-moe.pt", "quipu-moe.golden.safetensors"):
            shutil.copy(GALLERY / name, self.dir)
        outputs = [self.succeed(*command[1:], cwd=self.dir).stdout for command in commands]
        self.assertEqual(len(commands), 9)
        # What the page quotes.
        said = " ".join(" ".join(outputs).split())
        for quoted in ("routed experts: gate", "the shapes allow 2, 4, 6?", "17 questions",
                       "solved: the recipe reproduces the reference", "verified: every check holds"):
            self.assertIn(quoted, said)


if __name__ == "__main__":
    result = unittest.main(verbosity=1, exit=False).result
    sys.exit(1 if not result.wasSuccessful() else 77 if result.skipped else 0)
