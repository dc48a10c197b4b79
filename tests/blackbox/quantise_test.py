"""Quantised folders from outside: what is written whatever the threads and files, the config that
loaders read, rules and mixes, sizes, refusals, and verify on every mode. Needs no PyTorch; the bits
themselves are held to MLX's by quant_tests."""
import json
import unittest

from program import SOURCE_DIR, TINY, ProgramTest, read_safetensors, weightbridge

MODES = {"affine": (4, 32), "mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}


class Quantise(ProgramTest):
    def convert(self, *arguments, name="out"):
        out = self.dir / name
        run = self.succeed("convert", TINY, "-o", out, "--no-sync", "--json", *arguments)
        tensors = {}
        for file in sorted(out.glob("model*.safetensors")):
            tensors.update(read_safetensors(file)[0])
        return tensors, json.loads((out / "config.json").read_text()), json.loads(run.stdout)

    def test_bytes_depend_on_neither_threads_nor_files(self):
        # In one file weight, scales and biases are made together; in many, some are made alone.
        for mode in MODES:
            with self.subTest(mode):
                flags = ("--target", "exact", "--mode", mode,
                         *(("--group-size", "32") if mode == "affine" else ()))
                whole = self.convert(*flags, "--threads", "1", name="one " + mode)[0]
                again = self.convert(*flags, "--threads", "4", name="four " + mode)[0]
                small = self.convert(*flags, "--threads", "3", "--shard-size", "40kB", name="small " + mode)[0]
                self.assertEqual(whole, again)
                self.assertEqual(whole, small)
                self.assertGreater(len(list((self.dir / ("small " + mode)).glob("model-*"))), 10)

    def test_config_and_parts_of_every_mode(self):
        for mode, (bits, group) in MODES.items():
            with self.subTest(mode):
                flags = () if mode == "nvfp4" else ("--group-size", group)
                tensors, config, _ = self.convert("--target", "exact", "--mode", mode, *flags, name=mode)
                self.assertEqual(config["quantization"], {"group_size": group, "bits": bits, "mode": mode})
                self.assertEqual(config["quantization_config"], config["quantization"])
                dtype, shape, _ = tensors["lm_head.weight"] if "lm_head.weight" in tensors else \
                    tensors["model.embed_tokens.weight"]
                self.assertEqual((dtype, shape), ("U32", [4096, 128 * bits // 32]))
                biases = [n for n in tensors if n.endswith(".biases")]
                self.assertEqual(bool(biases), mode == "affine")
                for name in tensors:
                    if name.endswith(".scales"):
                        self.assertEqual(tensors[name][0], "F32" if mode == "affine" else "U8")
                        self.assertEqual(tensors[name[:-6] + "weight"][0], "U32")
                        self.assertFalse(name.endswith(".mlp.gate.scales"), name)

    def test_verify_reads_every_mode(self):
        for mode in MODES:
            with self.subTest(mode):
                self.convert("--target", "exact", "--mode", mode, name=mode)
                run = weightbridge("verify", TINY, self.dir / mode, "--tokens", "1,2,3,4,5,6,7,8", "--json")
                logits = json.loads(run.stdout)["comparison"]["logits"]
                # Quantised, so not equal; read as it was written, so near: what a wrong nibble order,
                # scale or sign makes of this model is a divergence of several nats.
                self.assertGreater(logits["mean_kl"], 0)
                self.assertLess(logits["mean_kl"], 0.2)

    def test_rules_first_match_wins(self):
        rules = self.dir / "rules.toml"
        rules.write_text('"lm_head" = false\n"*.switch_mlp.down_proj" = {bits = 6}\n'
                         '"*.down_proj" = {bits = 8}\n"*.o_proj" = {mode = "mxfp4"}\n"nothing*" = false\n')
        tensors, config, document = self.convert(
            "--target", "exact", "--bits", "4", "--group-size", "32", "--quant-rules", rules)
        layers = {l["path"]: l for l in document["quantization"]["layers"]}
        block = config["quantization"]
        for path, layer in layers.items():
            if path.endswith("switch_mlp.down_proj"):
                self.assertEqual(layer["bits"], 6)
                self.assertEqual(block[path], {"group_size": 32, "bits": 6, "mode": "affine"})
            elif path.endswith("down_proj"):
                self.assertEqual(layer["bits"], 8)
            elif path.endswith("o_proj"):
                self.assertEqual(block[path], {"group_size": 32, "bits": 4, "mode": "mxfp4"})
                self.assertEqual(tensors[path + ".scales"][0], "U8")
            elif "left" not in layer:
                self.assertEqual(layer["bits"], 4)
                self.assertNotIn(path, block)
        self.assertEqual(document["quantization"]["unused_rules"][-1], "nothing*")
        self.assertFalse(any(n.startswith("lm_head.s") for n in tensors))

    def test_key_value_projection_of_stock_has_entries_for_its_parts(self):
        plan = json.loads(self.succeed("plan", TINY, "--target", "stock", "--mix", "mixed_3_6",
                                       "--group-size", "32", "--json").stdout)
        layers = {l["path"]: l for l in plan["quantization"]["layers"]}
        block = plan["config"]["quantization"]
        for path, layer in layers.items():
            if not path.endswith("kv_b_proj"):
                continue
            stem = path[:-len("kv_b_proj")]
            if "left" in layer:  # mlx-lm quantises the keys along qk_nope_head_dim
                self.assertNotIn(stem + "embed_q", block)
            else:
                for part in ("kv_b_proj", "embed_q", "unembed_out"):
                    self.assertEqual(block[stem + part]["bits"], layer["bits"])

    def test_mixes_follow_mlx_lm(self):
        # By hand for 4 layers: 4 // 8 is 0, 7 * 4 // 8 is 3: layer 3, and layer 2 ((2 - 0) % 3 == 2).
        # mlx-lm looks for v_proj, v_a_proj and v_b_proj anywhere in the path: kv_a_proj is one.
        plan = json.loads(self.succeed("plan", TINY, "--target", "exact", "--mix", "mixed_2_6",
                                       "--group-size", "32", "--json").stdout)
        for layer in plan["quantization"]["layers"]:
            if "left" in layer:
                continue
            path = layer["path"].split(".")
            high = path[-1] == "lm_head" or (
                path[:2] == ["model", "layers"] and path[2] in "23" and path[-1] in
                ("down_proj", "v_b_proj", "kv_a_proj"))
            self.assertEqual(layer["bits"], 6 if high else 2, layer["path"])

    def test_plan_says_what_is_written(self):
        flags = ("--target", "exact", "--bits", "5", "--group-size", "32")
        plan = json.loads(self.succeed("plan", TINY, *flags, "--json").stdout)
        tensors, config, document = self.convert(*flags)
        self.assertEqual(plan["config"], config)
        self.assertEqual(plan["quantization"], document["quantization"])
        self.assertEqual(plan["quantization"]["bytes"], sum(len(t[2]) for t in tensors.values()))
        self.assertRegex(self.succeed("plan", TINY, *flags).stdout, r"quantised: \d\.\d+ bits per weight, .* in all")

    def test_auto_fits_and_uses_the_size(self):
        sizes, errors = (1700000, 2100000, 3000000), []
        for size in sizes:
            plan = json.loads(self.succeed("plan", TINY, "--target", "exact", "--bits", "auto", "--size", size,
                                           "--group-size", "32", "--json").stdout)["quantization"]
            self.assertLessEqual(plan["bytes"], size)
            errors.append(plan["bytes"])
            self.assertGreater(plan["bytes"], 0.93 * size)
        self.assertEqual(errors, sorted(errors))
        error = self.fail_with(2, "usage", "plan", TINY, "--target", "exact", "--bits", "auto", "--size", "1kB")
        self.assertIn("at least", error["sentence"])

    def test_auto_by_logits_is_no_worse_than_by_weights(self):
        # Chosen on one part of the text, held to another that it has not seen.
        tokens = (SOURCE_DIR / "samples" / "tiny" / "text-tokens.u16").read_bytes()
        ours, held = self.dir / "ours.u16", self.dir / "held.u16"
        ours.write_bytes(tokens[:2 * 192])
        held.write_bytes(tokens[-2 * 512:])
        for size in (1700000, 2600000):
            kl = {}
            for name, flags in (("weights", ()), ("logits", ("--calibrate", ours))):
                folder = f"{name} {size}"
                _, _, document = self.convert("--target", "exact", "--bits", "auto", "--size", size, "--group-size",
                                              "32", *flags, name=folder)
                self.assertLessEqual(document["quantization"]["bytes"], size)
                run = weightbridge("verify", TINY, self.dir / folder, "--tokens", held, "--json")
                kl[name] = json.loads(run.stdout)["comparison"]["logits"]["mean_kl"]
            with self.subTest(size):
                self.assertLessEqual(kl["logits"], kl["weights"])
                self.assertGreater(kl["logits"], 0)

    def test_refusals(self):
        bad = self.dir / "bad.toml"
        for flags in (("--bits", "7"), ("--bits", "four"), ("--mode", "q4_0"), ("--mode", "mxfp4", "--bits", "3"),
                      ("--bits", "auto"), ("--size", "1GB"), ("--mix", "mixed_9_9"), ("--mix", "mixed_2_6", "--bits", "4"),
                      ("--group-size", "48")):
            with self.subTest(flags):
                self.fail_with(2, "usage", "plan", TINY, *flags)
        for text, what in (('"a" = 3', "a whole number"), ('"a" = {bit = 3}', "no key \"bit\""),
                           ('"a" = {bits = 7}', "no such format"), ('"a" = {mode = "x"}', "affine, mxfp4"), ("a b", "line 1")):
            bad.write_text(text)
            with self.subTest(text):
                error = self.fail_with(3, "config_invalid", "plan", TINY, "--quant-rules", bad)
                self.assertIn(what, error["sentence"])


if __name__ == "__main__":
    unittest.main()
