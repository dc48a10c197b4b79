"""Recipes with what weights can't tell taken out: for tests of `recipes solve`.

Owns the list of those fields, written from docs/recipes.md and independent of the program's
own, and the editing of recipe texts."""
import re

NETWORKS = ("dense", "moe.routed", "moe.shared")
NORMS = ("norm", "attention.q_norm", "attention.kv_norm", "attention.q_head_norm", "attention.k_head_norm",
         "final_norm")
ALWAYS = ("rope.layout", "rope.base", "attention.softmax_scale", "attention.softmax_scale_rope",
          "attention.rope_key_from", "attention.rope_key_factor", "attention.kv_latent_factor",
          "tie_word_embeddings")
MIXTURE = ("moe.shared_scale", "router.score", "router.expert_bias", "router.num_experts_per_tok",
           "router.norm_topk_prob", "router.norm_eps", "router.routed_scaling_factor")
GROUPS = ("router.n_group", "router.topk_group", "router.group_score", "router.group_mask")


def unknowable(spec):
    """The paths of `spec` (path -> value) that no tensor's shape tells."""
    out = list(ALWAYS)
    if spec["moe.n_routed_experts"]:
        out += MIXTURE
    if spec["router.n_group"] > 1:
        out += GROUPS
    out += [f"{n}.{k}" for n in NORMS if spec.get(n + ".kind", "none") != "none" for k in ("eps", "eps_outside_root")
            if n != "final_norm" or spec["own_final_norm"]]
    out += [f"{n}.activation" for n in NETWORKS if spec[f"{n}.intermediate_size"]]
    if spec["attention.kv_lora_rank"] == 0:
        out = [p for p in out if p not in ("attention.kv_latent_factor", "attention.rope_key_from")]
    if spec["attention.qk_rope_head_dim"] == 0:
        out = [p for p in out if not p.startswith(("rope.", "attention.rope_", "attention.softmax_scale_rope"))]
    return out


def _opened_inline(body, fields):
    """The inside of an inline table with the given keys open; returns it and the keys it opened."""
    for key in fields:
        new, n = re.subn(rf'(^|[\s,])({key}\s*=\s*)("[^"]*"|[^,\s]+)', r'\1\2"?"', body)
        body = new if n else body.rstrip() + f', {key} = "?" '
    return body


def opened(text, paths, asks):
    """The recipe with each field of `paths` set to "?", but for those that a setting of `asks` gives."""
    todo, out, header = set(paths), [], ""
    for line in text.split("\n"):
        table = re.match(r"\s*\[([\w.]+)\]", line)
        field = re.match(r"(\s*)([\w.]+)(\s*=\s*)(.*)$", line)
        if table:
            header = table[1]
        elif field and (header == "model" or header.startswith("model.")):
            key, value = (header + "." + field[2])[len("model."):], field[4]
            if value.startswith("{"):
                close = value.index("}")
                mine = sorted(p for p in todo if p.rpartition(".")[0] == key)
                todo -= set(mine)
                mine = [p.rpartition(".")[2] for p in mine]
                mine = [k for k in mine if not re.search(rf'(^|[\s,]){k}\s*=\s*"({"|".join(asks) or "-"})"', value)]
                line = line.replace(value, "{" + _opened_inline(value[1:close], mine) + value[close:])
            elif key in todo:
                todo.discard(key)
                words = set(re.findall(r"\w+", re.match(r'"[^"]*"|\S+', value)[0]))
                if not words & set(asks):
                    line = field[1] + field[2] + field[3] + re.sub(r'^("[^"]*"|[^\s#]+)', '"?"', value)
        out.append(line)
    for path in sorted(todo):  # what the recipe leaves at its default
        parts = path.split(".")
        for depth in range(len(parts) - 1, -1, -1):
            at = [i for i, l in enumerate(out) if l.split("#")[0].strip() == "[" + ".".join(["model"] + parts[:depth]) + "]"]
            if at:
                out.insert(at[0] + 1, ".".join(parts[depth:]) + ' = "?"')
                break
    return "\n".join(out)


def misled(text, asks):
    """The recipe with every setting's default at a value that is not the model's."""
    out, key = [], None
    for line in text.split("\n"):
        table = re.match(r"\s*\[ask\.(\w+)\]", line)
        if re.match(r"\s*\[", line):
            key = table[1] if table else None
        default = re.match(r"(\s*default\s*=\s*)([^\s#]+)", line)
        if key in asks and default:
            truth = asks[key]
            if isinstance(truth, bool):
                wrong = str(not truth).lower()
            elif isinstance(truth, int):
                wrong = str(truth + 1)
            elif isinstance(truth, float):
                wrong = repr(3e-3 if truth < 1 else 7777.0)
            else:
                wrong = default[2]
            line = default[1] + wrong
        out.append(line)
    return "\n".join(out)
