"""Published DeepSeek layouts: small checkpoints with logits that real MLX computed for them
(tests/fixtures/goldens), as Hugging Face and as DeepSeek's own code lay them out, in full and
quantised, come out as the stock class and compute the same. What only shares their names is
refused by its axis. Needs numpy."""
import json
import struct
import sys
import unittest

from program import SOURCE_DIR, ProgramTest, read_safetensors

try:
    import numpy as np
except ImportError:
    print("SKIPPED: no numpy")
    sys.exit(77)

GOLDENS = SOURCE_DIR / "tests" / "fixtures" / "goldens"
BOUND = 1e-4
DTYPES = {"F32": np.float32, "I32": np.int32, "U8": np.uint8, "F8_E4M3": np.uint8, "BF16": np.uint16}


def golden(name):
    """Arrays by name, and config.json, of a golden folder."""
    tensors, _ = read_safetensors(GOLDENS / name / "model.safetensors")
    arrays = {k: np.frombuffer(raw, DTYPES[t]).reshape(shape) for k, (t, shape, raw) in tensors.items()}
    return arrays, json.loads((GOLDENS / name / "config.json").read_text())


def write(folder, arrays, config, file="model.safetensors"):
    """arrays: name -> array, or (dtype name, array) where numpy has no such type."""
    folder.mkdir(exist_ok=True)
    header, body = {}, b""
    for name in sorted(arrays):
        dtype, array = arrays[name] if isinstance(arrays[name], tuple) else ("F32", arrays[name])
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    (folder / file).write_bytes(struct.pack("<Q", len(text)) + text + body)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_shards(folder, arrays, config):
    """As published: an index, and here two files, which part a layer in its middle."""
    names = sorted(arrays)
    files = {n: f"model-0000{1 + (i >= len(names) // 2)}-of-00002.safetensors" for i, n in enumerate(names)}
    for file in set(files.values()):
        write(folder, {n: arrays[n] for n in names if files[n] == file}, config, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return folder


def fp8(arrays, suffix, rows, columns):
    """The matrices as FP8 codes with a scale per block, and what they mean in bf16."""
    rng = np.random.default_rng(1)
    encoded, plain = dict(arrays), dict(arrays)
    for name, array in arrays.items():
        if array.ndim != 2 or any(part in name for part in ("embed", "head", "gate.weight")):
            continue
        codes = rng.integers(0, 256, array.shape).astype(np.uint8)
        codes[codes & 127 == 127] = 0
        grid = [-(-array.shape[0] // rows), -(-array.shape[1] // columns)]
        scale = (rng.random(grid).astype(np.float32) + 0.5) * np.float32(1e-3)
        encoded[name] = ("F8_E4M3", codes)
        encoded[name.removesuffix("weight") + suffix] = scale
        plain[name] = ("BF16", bf16(from_e4m3(codes) * blocks(scale, codes.shape, rows, columns)))
    assert len(encoded) > len(plain)
    return encoded, plain


def v2():
    """The V2 golden with its experts one by one, as they are published."""
    arrays, config = golden("deepseek_v2")
    out = {}
    for name, array in arrays.items():
        if ".switch_mlp." not in name:
            out[name] = array
            continue
        for e in range(array.shape[0]):
            out[name.replace("switch_mlp", f"experts.{e}")] = array[e]
    return out, config


def fused(arrays, experts):
    """gate_up_proj and down_proj over all experts, as newer transformers save them."""
    out = {k: v for k, v in arrays.items() if ".mlp.experts." not in k}
    for mlp in sorted({k.split(".experts.")[0] for k in arrays if ".mlp.experts." in k}):
        part = lambda p: np.stack([arrays[f"{mlp}.experts.{e}.{p}.weight"] for e in range(experts)])
        out[f"{mlp}.experts.gate_up_proj"] = np.concatenate([part("gate_proj"), part("up_proj")], axis=1)
        out[f"{mlp}.experts.down_proj"] = part("down_proj")
    return out


OFFICIAL = [("model.embed_tokens", "embed"), ("lm_head", "head"), ("model.", ""), ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"), ("self_attn", "attn"), ("q_a_proj", "wq_a"),
            ("q_a_layernorm", "q_norm"), ("q_b_proj", "wq_b"), ("q_proj", "wq"), ("kv_a_proj_with_mqa", "wkv_a"),
            ("kv_a_layernorm", "kv_norm"), ("kv_b_proj", "wkv_b"), ("o_proj", "wo"), (".mlp.", ".ffn."),
            ("gate_proj", "w1"), ("down_proj", "w2"), ("up_proj", "w3"), ("gate.e_score_correction_bias", "gate.bias")]


def official(arrays, config):
    def rename(name):
        for a, b in OFFICIAL:
            name = name.replace(a, b)
        return name
    scaling = config["rope_scaling"]
    own = {"dim": config["hidden_size"], "inter_dim": config["intermediate_size"],
           "moe_inter_dim": config["moe_intermediate_size"], "n_layers": config["num_hidden_layers"],
           "n_heads": config["num_attention_heads"], "n_routed_experts": config["n_routed_experts"],
           "n_shared_experts": config["n_shared_experts"], "n_activated_experts": config["num_experts_per_tok"],
           "n_expert_groups": config["n_group"], "n_limited_groups": config["topk_group"],
           "route_scale": config["routed_scaling_factor"], "score_func": config["scoring_func"],
           "qk_nope_head_dim": config["qk_nope_head_dim"], "v_head_dim": config["v_head_dim"],
           "max_seq_len": config["max_position_embeddings"],
           "original_seq_len": scaling["original_max_position_embeddings"], "rope_factor": scaling["factor"],
           "mscale": scaling["mscale_all_dim"]}
    return {rename(k): v for k, v in arrays.items()}, own


def bf16(x):
    """float32 to bf16 bits, to nearest even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def from_e4m3(codes):
    codes = codes.astype(np.int32)
    exponent, mantissa = codes >> 3 & 15, codes & 7
    value = np.where(exponent == 0, mantissa * 2.0 ** -9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    return np.where(codes & 128, -value, value).astype(np.float32)


def blocks(scale, shape, rows, columns):
    return np.repeat(np.repeat(scale, rows, 0), columns, 1)[:shape[0], :shape[1]]


class Published(ProgramTest):
    def source(self, arrays, config, name="src"):
        return write(self.dir / name, arrays, config)

    def plan(self, source, *more):
        plan = self.document("plan", source, *more)
        self.assertEqual(len(plan["account"]), plan["sums"]["source_entries"])
        return plan

    def agrees(self, source, reference, recipe, target, *more):
        """The source by the recipe, and the folder, have the logits that MLX has."""
        plan = self.plan(source, *more)
        self.assertEqual((plan["recipe"], plan["target"]), (recipe, target), plan.get("reasons"))
        folder = self.dir / "folder"
        self.succeed("convert", source, "-o", folder, "--no-sync", *more)
        file = GOLDENS / reference / "golden.safetensors"
        found = json.loads(self.succeed("verify", source, folder, "--tokens", file, "--reference", file, "--json",
                                        *more).stdout)
        self.assertLessEqual(found["reference"]["logits"]["max_abs"], BOUND)
        self.assertLessEqual(found["comparison"]["logits"]["max_abs"], BOUND)
        return plan

    def test_v3(self):
        self.agrees(self.source(*golden("deepseek_v3-yarn-groups")), "deepseek_v3-yarn-groups", "hf-deepseek-v3",
                    "stock")

    def test_v3_in_shards(self):
        source = write_shards(self.dir / "src", *golden("deepseek_v3-yarn-groups"))
        self.agrees(source, "deepseek_v3-yarn-groups", "hf-deepseek-v3", "stock")

    def test_v3_with_fused_experts_and_rope_parameters(self):
        arrays, config = golden("deepseek_v3-yarn-groups")
        scaling = config.pop("rope_scaling")
        config["rope_parameters"] = {**{k: v for k, v in scaling.items() if k != "type"}, "rope_type": "yarn",
                                     "rope_theta": config.pop("rope_theta")}
        self.agrees(self.source(fused(arrays, 8), config), "deepseek_v3-yarn-groups", "hf-deepseek-v3", "stock")

    def test_v3_in_the_official_layout(self):
        arrays, config = official(*golden("deepseek_v3-yarn-groups"))
        self.agrees(self.source(arrays, config), "deepseek_v3-yarn-groups", "deepseek-official", "stock")

    def test_v2(self):
        self.agrees(self.source(*v2()), "deepseek_v2", "hf-deepseek-v2", "stock")
        config = json.loads((self.dir / "folder" / "config.json").read_text())
        self.assertEqual((config["model_type"], config["topk_method"]), ("deepseek_v2", "greedy"))
        self.assertFalse([n for n in read_safetensors(self.dir / "folder" / "model.safetensors")[0]
                          if "e_score_correction_bias" in n])

    def test_v2_renormalised_is_not_v2s_class(self):
        arrays, config = v2()
        error = self.fail_with(3, "model_refused", "plan", self.source(arrays, {**config, "norm_topk_prob": True}))
        self.assertIn("renormalised", error["sentence"])

    def test_multi_token_layers_are_left_out_by_index(self):
        arrays, config = golden("deepseek_v3-yarn-groups")
        more = {k.replace("layers.2.", "layers.3."): v for k, v in arrays.items() if "layers.2." in k}
        more["model.layers.3.eh_proj.weight"] = np.zeros((64, 128), np.float32)
        config["num_nextn_predict_layers"] = 1
        plan = self.plan(self.source({**arrays, **more}, config))
        left = {row["source"]: row["fate"] for row in plan["account"] if row["fate"] != "used"}
        self.assertEqual(set(left), set(more))
        config["num_hidden_layers"] = 2
        self.assertEqual(len([r for r in self.plan(self.source({**arrays, **more}, config, "two"))["account"]
                              if r["fate"] != "used"]), 2 * len(more) - 1)

    def test_multi_token_layers_are_kept_as_they_are(self):
        arrays, config = golden("deepseek_v3-yarn-groups")
        more = {k.replace("layers.2.", "layers.3."): v + np.float32(1) for k, v in arrays.items() if "layers.2." in k}
        for name, shape in (("embed_tokens.weight", (8, 64)), ("enorm.weight", (64,)), ("hnorm.weight", (64,)),
                            ("eh_proj.weight", (64, 128)), ("shared_head.norm.weight", (64,)),
                            ("shared_head.head.weight", (8, 64))):
            more["model.layers.3." + name] = np.full(shape, 0.5, np.float32)
        more["model.layers.3.eh_proj.weight"] = ("F8_E4M3", np.arange(64 * 128, dtype=np.uint32).astype(np.uint8)
                                                 .reshape(64, 128))
        source = self.source({**arrays, **more}, {**config, "num_nextn_predict_layers": 1})
        for target in ("stock", "exact"):
            out = self.dir / target
            for mtp in ("drop", "keep"):
                self.succeed("convert", source, "-o", out, "--target", target, "--mtp", mtp, "--no-sync", "--force")
                kept = out / "mtp.safetensors"
                self.assertEqual(kept.exists(), mtp == "keep")
                # The loaders' files do not have them, and the folder is read as if they were not there.
                model = read_safetensors(out / "model.safetensors")[0]
                self.assertFalse(any("layers.3." in name for name in model))
                tokens = GOLDENS / "deepseek_v3-yarn-groups" / "golden.safetensors"
                found = json.loads(self.succeed("verify", source, out, "--tokens", tokens, "--json").stdout)
                self.assertLessEqual(found["comparison"]["logits"]["max_abs"], BOUND)
            got, wanted = read_safetensors(kept)[0], read_safetensors(source / "model.safetensors")[0]
            self.assertEqual(got, {name: wanted[name] for name in more})
            plan = self.plan(source, "--target", target, "--mtp", "keep")
            self.assertEqual([r for r in plan["account"] if r["fate"] != "used"], [])

    def test_a_published_checkpoint_runs_as_it_is(self):
        # FP8 and fused experts: not what the class's own loader takes, though config.json names it.
        arrays, config = golden("deepseek_v3-yarn-groups")
        encoded, plain = fp8(arrays, "weight_scale_inv", 16, 48)
        blocks8 = self.source(encoded, {**config, "quantization_config": {
            "quant_method": "fp8", "weight_block_size": [16, 48]}}, "fp8")
        plain = self.source(plain, config, "plain")
        logits = {}
        for source in (blocks8, plain):
            file = self.dir / "logits.safetensors"
            self.succeed("logits", source, "--tokens", "1,2,3,4,5", "-o", file)
            logits[source.name] = np.frombuffer(read_safetensors(file)[0]["logits"][2], np.float32)
        self.assertTrue(np.array_equal(logits["fp8"], logits["plain"]))
        self.assertTrue(np.isfinite(logits["fp8"]).all())
        made = [json.loads(self.succeed("generate", s, "--tokens", "1,2,3", "--max-tokens", "4", "--json").stdout)
                for s in (blocks8, plain)]
        self.assertEqual(made[0]["tokens"], made[1]["tokens"])
        together = self.source(fused(arrays, 8), config, "fused")
        self.succeed("logits", together, "--tokens", "1,2,3", "-o", self.dir / "fused.safetensors")
        out = self.dir / "4 bits"
        self.succeed("convert", blocks8, "-o", out, "--bits", "4", "--group-size", "32", "--no-sync")
        self.succeed("logits", out, "--tokens", "1,2,3", "-o", self.dir / "quantised.safetensors")

    def stored_as(self, encoded, plain, config, plain_config, recipe):
        """Both checkpoints become the same bytes in an exact folder."""
        for name, arrays, its in (("encoded", encoded, config), ("plain", plain, plain_config)):
            source = self.source(arrays, its, name)
            self.assertEqual(self.plan(source)["recipe"], recipe)
            self.succeed("convert", source, "-o", self.dir / f"{name} out", "--dtype", "f32", "--no-sync")
        got, want = (read_safetensors(self.dir / f"{n} out" / "model.safetensors")[0] for n in ("encoded", "plain"))
        self.assertEqual(set(got), set(want))
        for name in want:
            self.assertEqual(got[name][:2], want[name][:2], name)
            self.assertTrue(got[name][2] == want[name][2], name)

    def test_fp8_blocks(self):
        arrays, config = golden("deepseek_v3-yarn-groups")
        encoded, plain = fp8(arrays, "weight_scale_inv", 16, 48)  # 40 and 64 are ragged
        as_fp8 = {**config, "quantization_config": {"quant_method": "fp8", "weight_block_size": [16, 48]}}
        self.stored_as(encoded, plain, as_fp8, config, "hf-deepseek-v3")

    def test_fp8_blocks_in_the_official_layout(self):
        arrays, config = official(*golden("deepseek_v3-yarn-groups"))
        encoded, plain = fp8(arrays, "scale", 128, 128)
        self.stored_as(encoded, plain, config, config, "deepseek-official")

    def test_int4_of_compressed_tensors(self):
        arrays, config = golden("deepseek_v3-yarn-groups")
        rng = np.random.default_rng(2)
        encoded, plain = dict(arrays), dict(arrays)
        for name, array in arrays.items():
            if ".experts." not in name:
                continue
            rows, columns = array.shape
            q = rng.integers(-8, 8, array.shape)
            scale = bf16(rng.random((rows, columns // 32)) * 0.01 + 0.001)
            words = np.zeros((rows, columns // 8), np.uint32)
            for j in range(8):
                words |= (q[:, j::8] + 8).astype(np.uint32) << np.uint32(4 * j)
            stem = name.removesuffix("weight")
            del encoded[name]
            encoded[stem + "weight_packed"] = ("I32", words.view(np.int32))
            encoded[stem + "weight_scale"] = ("BF16", scale)
            encoded[stem + "weight_shape"] = ("I32", np.array([rows, columns], np.int32))
            plain[name] = ("BF16", bf16(q.astype(np.float32) * np.repeat(from_bf16(scale), 32, 1)))
        packed = {**config, "quantization_config": {
            "quant_method": "compressed-tensors", "format": "pack-quantized",
            "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 32}}}}}
        self.stored_as(encoded, plain, packed, config, "hf-deepseek-v3")

    def test_what_only_shares_the_names_is_refused(self):
        arrays, config = golden("deepseek_v3-yarn-groups")
        changes = [({"model_type": "glm4_moe_lite"}, {}, "model_type"), ({"scoring_func": "softmax"}, {}, "sigmoids"),
                   ({"topk_method": "greedy"}, {}, "noaux_tc"), ({"hidden_act": "gelu"}, {}, "silu"),
                   ({"quantization_config": {"quant_method": "gptq"}}, {}, "quantised"),
                   ({"rope_scaling": {"type": "longrope"}}, {}, "rope scaling"),
                   ({"rope_parameters": {"rope_type": "yarn", "factor": 40, "attention_factor": 1.3}}, {},
                    "attention_factor"),
                   ({}, {"model.layers.1.self_attn.indexer.wk.weight": np.zeros((4, 64), np.float32)}, "sparse")]
        for i, (its, more, axis) in enumerate(changes):
            with self.subTest(axis):
                source = self.source({**arrays, **more}, {**config, **its}, f"refused {i}")
                error = self.fail_with(3, "model_refused", "plan", source)
                self.assertIn(axis, error["sentence"])


if __name__ == "__main__":
    unittest.main()
