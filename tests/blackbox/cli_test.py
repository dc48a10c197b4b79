"""The command line from outside: exit codes, sentences, JSON, folders that appear whole
or not at all. Needs no PyTorch."""
import hashlib
import json
import os
import pathlib
import re
import resource
import select
import shutil
import struct
import subprocess
import unittest

from program import (PROGRAM, SANITIZED, SOURCE_DIR, TINY, ProgramTest, read_safetensors,
                     weightbridge, write_safetensors)

FOREIGN = {"tok.emb": ("F32", [8, 4]), "blocks.0.w": ("F32", [4, 4]), "blocks.1.w": ("F32", [4, 4])}


class Usage(ProgramTest):
    def test_help_and_version_go_to_stdout(self):
        for arguments in (["--help"], ["convert", "--help"], ["recipes", "check", "-h"]):
            self.assertIn("-", self.succeed(*arguments).stdout)
        self.assertRegex(self.succeed("--version").stdout, r"^weightbridge \d+\.\d+\.\d+\n$")

    def test_wrong_usage_is_exit_2_code_usage(self):
        for arguments in ([], ["frobnicate"], ["inspect"], ["inspect", "a", "--frobnicate"],
                          ["convert", TINY], ["convert", TINY, "-o", "--force"], ["recipes", "check"],
                          ["convert", TINY, "-o", self.dir / "x", "--threads", "0"],
                          ["convert", TINY, "-o", self.dir / "x", "--mtp", "both"],
                          ["convert", TINY, "-o", self.dir / "x", "--dtype", "f99"],
                          ["convert", TINY, "-o", self.dir / "x", "--shard-size", "lots"],
                          ["inspect", TINY, "--set", "experts_per_token"]):
            with self.subTest(arguments):
                error = self.fail_with(2, "usage", *arguments)
                self.assertTrue(error["sentence"])
        self.assertEqual(list(self.dir.iterdir()), [])

    def test_a_command_that_is_none_is_named_beside_those_that_are(self):
        for arguments in (["frobnicate"], ["frobnicate", "verify"], ["help", "convert"]):
            with self.subTest(arguments):
                error = self.fail_with(2, "usage", *arguments)
                self.assertIn("there is no such command: expected one of ", error["sentence"])
                self.assertIn("convert", error["sentence"])
                self.assertIn(f'found "{arguments[0]}"', error["sentence"])

    def test_unknown_target_lists_the_targets(self):
        error = self.fail_with(2, "target_unknown", "plan", TINY, "--target", "onnx")
        for name in ("auto", "exact", "stock", "shape-match"):
            self.assertIn(name, error["sentence"] + error["advice"])

    def test_unknown_setting_names_the_known_ones(self):
        error = self.fail_with(2, "setting_unknown", "inspect", TINY, "--set", "experts_per_tokn=3")
        self.assertIn("experts_per_tokn", error["sentence"])
        self.assertIn("experts_per_token", error["sentence"] + error["advice"])

    def test_invalid_setting_says_what_it_takes(self):
        error = self.fail_with(2, "setting_invalid", "inspect", TINY, "--set",
                               "experts_per_token=many")
        self.assertIn("many", error["sentence"])

    def test_a_setting_given_twice_is_refused(self):
        error = self.fail_with(2, "usage", "inspect", TINY, "--set", "experts_per_token=2", "--set",
                               "experts_per_token=3")
        self.assertIn("twice", error["sentence"])


class Input(ProgramTest):
    def test_missing_file_is_named(self):
        error = self.fail_with(4, "file_open", "inspect", self.dir / "nowhere.pt")
        self.assertIn("nowhere.pt", error["file"])

    def test_empty_and_foreign_files_are_format_unknown(self):
        for name, content in (("empty.pt", b""), ("text.pt", b"hello, world\n" * 100)):
            (self.dir / name).write_bytes(content)
            error = self.fail_with(3, "format_unknown", "inspect", self.dir / name)
            self.assertIn(name, error["file"])

    def test_a_tokenizer_that_is_none(self):
        (self.dir / "bad.json").write_text('{"vocab": {}}')
        error = self.fail_with(2, "usage", "convert", TINY, "-o", self.dir / "x", "--tokenizer",
                               self.dir / "bad.json")
        self.assertIn("bad.json", error["file"])
        self.fail_with(2, "usage", "convert", TINY, "-o", self.dir / "x", "--tokenizer", self.dir)
        self.fail_with(4, "file_open", "convert", TINY, "-o", self.dir / "x", "--tokenizer",
                       self.dir / "none")
        self.assertFalse((self.dir / "x").exists())

    def test_unknown_layout(self):
        path = self.dir / "foreign.safetensors"
        write_safetensors(path, FOREIGN)
        text = self.succeed("inspect", path)
        self.assertRegex(text.stdout, r"2 +blocks\.\{\}\.w +F32 +\[4, 4\]")
        document = self.document("inspect", path)
        self.assertIsNone(document["recipe"])
        self.assertEqual(document["problem"]["code"], "recipe_unknown")
        self.assertIn({"pattern": "blocks.{}.w", "count": 2, "dtype": "F32", "shape": "[4, 4]"},
                      document["groups"])
        for command in (["plan", path], ["convert", path, "-o", self.dir / "out"]):
            error = self.fail_with(3, "recipe_unknown", *command)
            self.assertIn("blocks.{}.w", error["sentence"] + error["actual"])
            self.assertIn("recipe", error["advice"])
        self.assertFalse((self.dir / "out").exists())

    def test_names_cannot_speak_to_the_terminal(self):
        path = self.dir / "hostile.safetensors"
        write_safetensors(path, {"\x1b]0;owned\x07w": ("F32", [1]), "\u202egnp": ("F32", [1])})
        for arguments in (["inspect", path], ["inspect", path, "--tensors"], ["plan", path]):
            run = weightbridge(*arguments)
            for stream in (run.stdout, run.stderr):
                for forbidden in "\x1b\x07\u202e":
                    self.assertNotIn(forbidden, stream)

    def test_memory_that_runs_out_is_a_sentence(self):
        if SANITIZED or not os.path.exists("/proc/self/status"):
            self.skipTest("the sanitizers' own mappings do not fit a limited address space")
        path = self.dir / "large-header.safetensors"
        text = json.dumps({"__metadata__": {"k": "x" * 80_000_000}, "w": {
            "dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
        # The text is mapped, which fits, and copied at least once, which does not.
        limit = address_space_of_a_run() + (120 << 20)
        error = self.fail_with(4, "out_of_memory", "inspect", path,
                               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        self.assertIn("memory", error["sentence"])


def address_space_of_a_run():
    """Most address space that an ordinary run takes: read while it waits to be rid of its output."""
    process = subprocess.Popen([PROGRAM, "plan", TINY, "--json"], stdout=subprocess.PIPE)
    try:
        select.select([process.stdout], [], [], 60)  # it has begun to write, more than a pipe holds
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        return int(re.search(r"VmPeak:\s+(\d+) kB", status).group(1)) << 10
    finally:
        process.kill()
        process.communicate()


class Output(ProgramTest):
    def test_inspect_says_what_the_sample_is(self):
        out = self.succeed("inspect", TINY).stdout
        for words in ("deepseek-from-scratch", "lm_head.weight = wte.weight", "experts_per_token",
                      "(default)", "--set experts_per_token="):
            self.assertIn(words, out)
        document = self.document("inspect", TINY, "--tensors")
        self.assertEqual(document["recipe"], "deepseek-from-scratch")
        self.assertEqual(document["prefix"], "")
        self.assertEqual(document["entries"], len(document["tensors"]))
        shapes = {t["name"]: t["shape"] for t in document["tensors"]}
        self.assertEqual(shapes["wte.weight"], [4096, 128])  # samples/tiny/README.md
        self.assertEqual(shapes["h.3.attn.k_rope_proj.weight"], [64, 128])

    def test_plan_writes_nothing(self):
        before = sorted(self.dir.iterdir())
        out = self.succeed("plan", TINY, "--target", "shape-match", cwd=self.dir).stdout
        self.assertIn("Nothing has been written.", out)
        self.assertIn("model.layers.3.self_attn.kv_b_proj.weight", out)
        self.assertRegex(out, r"h\.\{\}\.attn\.causal_mask")
        self.assertEqual(sorted(self.dir.iterdir()), before)

    def test_shape_match_lists_eleven_losses(self):
        document = self.document("plan", TINY, "--target", "shape-match")
        self.assertEqual([loss["number"] for loss in document["losses"]], list(range(1, 12)))
        for loss in document["losses"]:
            self.assertTrue(loss["source_computes"] and loss["target_makes"], loss)
        self.assertEqual(document["losses"][0]["tensors"], ["wpe.weight"])
        self.assertEqual(sum(t["entries"] for t in document["tensors"] if t["kind"] == "made up"),
                         document["sums"]["made_up"])
        self.assertEqual(document["sums"]["made_up"], 8)  # 2 per layer, 4 layers

    def test_exact_loses_nothing(self):
        document = self.document("plan", TINY, "--target", "exact")
        self.assertEqual(document["losses"], [])
        self.assertEqual({t["kind"] for t in document["tensors"]}, {"exact"})
        self.assertTrue(all(t["moved_unchanged"] for t in document["tensors"]))

    def test_every_source_entry_is_in_the_account_once(self):
        entries = [t["name"] for t in self.document("inspect", TINY, "--tensors")["tensors"]]
        for target in ("exact", "shape-match"):
            account = self.document("plan", TINY, "--target", target)["account"]
            self.assertEqual([line["source"] for line in account], entries)
            self.assertTrue(all(line["detail"] for line in account if line["fate"] != "used"))

    def test_convert_writes_a_folder_with_its_account(self):
        out = self.dir / "out"
        document = self.document("convert", TINY, "-o", out, "--target", "exact", "--sha256")
        self.assertEqual({f["name"] for f in document["files"]}, {p.name for p in out.iterdir()})
        for file in document["files"]:
            blob = (out / file["name"]).read_bytes()
            self.assertEqual(file["bytes"], len(blob))
            self.assertEqual(file["sha256"], hashlib.sha256(blob).hexdigest())
        for name in ("config.json", "model.safetensors", "model.safetensors.index.json",
                     "tokenizer.json", "tokenizer_config.json", "README.md", "weightbridge.json"):
            self.assertTrue((out / name).is_file(), name)
        config = json.loads((out / "config.json").read_text())
        self.assertEqual(config["model_type"], "weightbridge_mla")
        if "model_file" in config:
            self.assertTrue((out / config["model_file"]).is_file())
            self.assertEqual((out / config["model_file"]).read_bytes(),
                             (SOURCE_DIR / "mlx" / config["model_file"]).read_bytes())
        manifest = json.loads((out / "weightbridge.json").read_text())
        self.assertEqual(manifest["recipe"], "deepseek-from-scratch")
        self.assertEqual(manifest["target"], "exact")
        self.assertNotIn(str(SOURCE_DIR), (out / "weightbridge.json").read_text())
        self.assertNotIn("{{", (out / "README.md").read_text())
        tensors, metadata = read_safetensors(out / "model.safetensors")
        self.assertEqual(metadata["format"], "mlx")
        self.assertEqual(tensors["model.embed_tokens.weight"][1], [4096, 128])

    def test_inspect_knows_its_own_folders(self):
        out = self.dir / "out"
        self.succeed("convert", TINY, "-o", out, "--target", "shape-match", "--no-sync")
        run = self.succeed("inspect", out)
        self.assertRegex(run.stdout, r"written by +weightbridge [\d.]+, target shape-match, "
                                     r"from recipe deepseek-from-scratch")
        self.assertIn("model_type deepseek_v3", run.stdout)
        self.assertEqual(run.stderr, "")

    def test_text_account_of_convert(self):
        run = self.succeed("convert", TINY, "-o", self.dir / "o", "--target", "shape-match")
        for words in ("left out", "alias", "mapped", "made up", "11 losses", "files written to",
                      "Tokenizer files found beside the checkpoint"):
            self.assertIn(words, run.stdout)
        self.assertEqual(run.stderr, "", "no progress bar where there is no terminal")

    def test_bytes_do_not_depend_on_threads(self):
        blobs = []
        for threads in ("1", "3"):
            out = self.dir / threads
            self.succeed("convert", TINY, "-o", out, "--target", "shape-match", "--threads", threads,
                         "--no-sync")
            blobs.append({p.name: p.read_bytes() for p in out.iterdir()})
        self.assertEqual(blobs[0], blobs[1])

    def test_existing_output_is_refused_and_kept(self):
        out = self.dir / "out"
        out.mkdir()
        (out / "mine.txt").write_text("mine")
        error = self.fail_with(2, "output_exists", "convert", TINY, "-o", out)
        self.assertIn("--force", error["advice"])
        self.assertEqual([p.name for p in out.iterdir()], ["mine.txt"])
        self.succeed("convert", TINY, "-o", out, "--force")
        self.assertFalse((out / "mine.txt").exists())
        self.assertTrue((out / "config.json").exists())
        self.assertEqual([p.name for p in self.dir.iterdir()], ["out"])

    def test_an_output_that_cannot_be_made(self):
        error = self.fail_with(4, "file_write", "convert", TINY, "-o", "/proc/no/such/place")
        self.assertIn("/proc/no", error["file"])

    def test_paths_with_spaces_and_other_scripts(self):
        folder = self.dir / "mein Modell – модель"
        folder.mkdir()
        source = folder / "größe 1.pt"
        shutil.copyfile(TINY, source)
        out = self.dir / "Ausgabe ☃ 出力"
        self.succeed("convert", source, "-o", out, "--target", "exact")
        self.assertIn("größe 1.pt", (out / "README.md").read_text())
        self.assertEqual(self.document("inspect", source)["path"], str(source))

    def test_standard_output_that_is_full(self):
        with open("/dev/full", "w") as full:
            for arguments in (["inspect", TINY], ["inspect", TINY, "--json"]):
                self.assertEqual(weightbridge(*arguments, stdout=full).returncode, 4)

    def test_a_reader_that_leaves(self):
        run = subprocess.run(["bash", "-c", '"$0" inspect "$1" --tensors | head -n 1', PROGRAM, TINY],
                             capture_output=True)
        self.assertEqual(run.stderr, b"")


class Tokenizer(ProgramTest):
    def setUp(self):
        super().setUp()
        self.alone = self.dir / "alone.pt"
        shutil.copyfile(TINY, self.alone)
        self.tokenizer = TINY.parent / "tokenizer.json"

    def convert(self, *arguments):
        out = self.dir / "out"
        shutil.rmtree(out, ignore_errors=True)
        return out, self.document("convert", self.alone, "-o", out, "--no-sync", *arguments)

    def test_none_is_said(self):
        out, document = self.convert()
        self.assertFalse((out / "tokenizer.json").exists())
        self.assertFalse((out / "tokenizer_config.json").exists())
        self.assertIn("--tokenizer", " ".join(document["remarks"]))

    def test_given_file_is_copied_and_a_config_written(self):
        out, document = self.convert("--tokenizer", self.tokenizer)
        self.assertEqual((out / "tokenizer.json").read_bytes(), self.tokenizer.read_bytes())
        config = json.loads((out / "tokenizer_config.json").read_text())
        self.assertEqual(config["tokenizer_class"], "GPT2Tokenizer")
        self.assertEqual(config["eos_token"], "<|endoftext|>")
        self.assertIn("GPT2Tokenizer", " ".join(document["remarks"]))

    def test_given_folder_is_copied_as_it_is(self):
        folder = self.dir / "tok"
        folder.mkdir()
        shutil.copyfile(self.tokenizer, folder / "tokenizer.json")
        odd = b'{"tokenizer_class":   "PreTrainedTokenizer", "\\u00e4": 1}\n\n'
        (folder / "tokenizer_config.json").write_bytes(odd)
        (folder / "chat_template.jinja").write_text("{{ x }}")
        (folder / "unrelated.txt").write_text("no")
        out, _ = self.convert("--tokenizer", folder)
        self.assertEqual((out / "tokenizer_config.json").read_bytes(), odd)
        self.assertEqual((out / "chat_template.jinja").read_text(), "{{ x }}")
        self.assertFalse((out / "unrelated.txt").exists())

    def test_a_vocabulary_that_is_too_large_is_said(self):
        tokenizer = json.loads(self.tokenizer.read_text())
        tokenizer["added_tokens"].append(dict(tokenizer["added_tokens"][0], id=50256, content="<x>"))
        path = self.dir / "big.json"
        path.write_text(json.dumps(tokenizer))
        _, document = self.convert("--tokenizer", path)
        self.assertRegex(" ".join(document["remarks"]), r"50257 tokens.*4096")


class Recipes(ProgramTest):
    def test_list_and_show(self):
        self.assertIn("deepseek-from-scratch", self.succeed("recipes").stdout)
        names = [r["name"] for r in self.document("recipes")["recipes"]]
        self.assertIn("deepseek-from-scratch", names)
        for name in names:
            path = self.dir / (name + ".toml")
            path.write_text(self.succeed("recipes", "show", name).stdout)
            self.assertTrue(self.document("recipes", "check", path)["good"])
        error = self.fail_with(2, "usage", "recipes", "show", "nobody")
        self.assertIn("deepseek-from-scratch", error["expected"])

    def test_check_prints_every_mistake_with_its_place(self):
        good = self.succeed("recipes", "show", "deepseek-from-scratch").stdout
        lines = good.splitlines()
        lines.insert(1, 'flavour = "sweet"')
        lines += ["", '[tensrs]', '"a" = "b"']
        path = self.dir / "broken.toml"
        path.write_text("\n".join(lines) + "\n")
        run = weightbridge("recipes", "check", path)
        self.assertEqual(run.returncode, 3)
        self.assertRegex(run.stdout, r"broken\.toml:2:\d+: .*flavour")
        self.assertRegex(run.stdout, r"broken\.toml:%d:\d+: .*tensrs" % (len(lines) - 1))
        run = weightbridge("recipes", "check", path, "--json")
        self.assertEqual(run.returncode, 3)
        document = json.loads(run.stdout)
        self.assertFalse(document["good"])
        self.assertIn(2, [m["line"] for m in document["mistakes"]])
        error = self.fail_with(3, "recipe_invalid", "inspect", TINY, "--recipe", path)
        self.assertIn("flavour", error["sentence"])

    def test_check_of_no_file(self):
        self.fail_with(4, "file_open", "recipes", "check", self.dir / "none.toml")

    def test_a_recipe_of_ones_own(self):
        path = self.dir / "my recipe.toml"
        path.write_text(self.succeed("recipes", "show", "deepseek-from-scratch").stdout)
        by_file = self.document("inspect", TINY, "--recipe", path)
        by_name = self.document("inspect", TINY, "--recipe", "deepseek-from-scratch")
        self.assertEqual(by_file["spec"], by_name["spec"])


if __name__ == "__main__":
    unittest.main(verbosity=1)
