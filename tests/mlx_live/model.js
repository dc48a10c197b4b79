// The exact class's forward pass on real MLX, operation by operation: docs/exact-class.md
// once more, for whole sequences. Reads a folder's config.json and model*.safetensors;
// quantised layers (those with scales; affine, 2, 4 or 8 bits) are dequantised by MLX
// first. A value of a key that it does not compute throws Unsupported, naming it.
'use strict';

const fs = require('fs');
const path = require('path');
const mx = require('@frost-beta/mlx').core;

// Something that this script, or this MLX release, does not compute.
class Unsupported extends Error {}

function refuse(key, value) {
  throw new Unsupported(`config.json: "${key}" is ${JSON.stringify(value)}; this script does not compute that.`);
}

// This release quantises matrices of 512 columns and more only; groups lie along rows, so rows
// may be joined.
function wide(shape) {
  const columns = shape[shape.length - 1], size = shape.reduce((a, b) => a * b, 1);
  return columns < 512 && size % 512 === 0 ? 512 : columns;
}

// Weights by module path, dequantised where they have scales.
class Weights {
  constructor(folder, config) {
    this.quantization = config.quantization;
    this.tensors = {};
    for (const file of fs.readdirSync(folder)) {
      if (/^model.*\.safetensors$/.test(file)) {
        Object.assign(this.tensors, mx.load(path.join(folder, file)));
      }
    }
    this.seen = new Set();
  }

  get(name) {
    const tensor = this.tensors[name];
    if (!tensor) throw new Error(`the folder has no tensor ${name}`);
    this.seen.add(name);
    return tensor.dtype === mx.uint32 ? tensor : tensor.astype(mx.float32);
  }

  has(name) {
    return name in this.tensors;
  }

  bias(module) {
    return this.has(module + '.bias') ? this.get(module + '.bias') : null;
  }

  weight(module) {
    const w = this.get(module + '.weight');
    if (!this.has(module + '.scales')) return w;
    const {group_size: groupSize, bits, mode = 'affine'} = this.quantization[module] ?? this.quantization;
    if (mode !== 'affine' || ![2, 4, 8].includes(bits)) {
      throw new Unsupported(`this MLX release cannot dequantise ${mode}, ${bits} bits`);
    }
    const scales = this.get(module + '.scales'), biases = this.get(module + '.biases');
    const columns = w.shape[w.ndim - 1] * 32 / bits, shape = [...w.shape.slice(0, -1), columns];
    const width = wide(shape);
    const parts = [[w, 32 / bits], [scales, groupSize], [biases, groupSize]].map(
      ([t, per]) => mx.reshape(t, [-1, width / per]));
    return mx.reshape(mx.dequantize(...parts, groupSize, bits), shape);
  }

  unread() {
    return Object.keys(this.tensors).filter((name) => !this.seen.has(name));
  }
}

const T = (w) => mx.swapaxes(w, -1, -2);
const add = (a, b) => (b === null ? a : mx.add(a, b));
const scaled = (x, factor) => (factor === 1 ? x : mx.multiply(x, factor));
// Whether each number is among the k largest of the last axis.
const best = (x, k) =>
  mx.less(mx.argsort(mx.argsort(mx.negative(x), -1), -1), mx.array(k, mx.uint32));

const activations = {
  silu: (x) => mx.multiply(x, mx.sigmoid(x)),
  gelu_erf: (x) => mx.multiply(mx.multiply(x, 0.5), mx.add(mx.erf(mx.multiply(x, Math.SQRT1_2)), 1)),
  gelu_tanh: (x) => {
    const inner = mx.add(x, mx.multiply(mx.multiply(mx.square(x), x), 0.044715));
    return mx.multiply(mx.multiply(x, 0.5), mx.add(mx.tanh(mx.multiply(inner, Math.sqrt(2 / Math.PI))), 1));
  },
  relu: (x) => mx.maximum(x, 0),
  silu_clipped: (x) => mx.clip(mx.multiply(x, mx.sigmoid(x)), -100, 100),
};

const NORM_KINDS = ['none', 'rms', 'layer'], ACTIVATIONS = Object.keys(activations);
// What each key may say; anything else is refused.
const VALUES = {
  positions: ['none', 'learned'],
  norm_kind: NORM_KINDS, final_norm_kind: NORM_KINDS, q_norm_kind: NORM_KINDS,
  kv_norm_kind: NORM_KINDS, q_head_norm_kind: NORM_KINDS, k_head_norm_kind: NORM_KINDS,
  head_norm_part: ['whole', 'content'],
  rope_layout: ['half_split', 'interleaved'],
  rope_span: ['head', 'all_heads'],
  rope_scaling: ['none', 'linear', 'yarn', 'longrope'],
  rope_keys: ['shared', 'per_head'],
  rope_key_from: ['input', 'raw_latent', 'normed_latent'],
  dense_activation: ACTIVATIONS, routed_activation: ACTIVATIONS, shared_activation: ACTIVATIONS,
  router_score: ['softmax_of_chosen', 'softmax', 'sigmoid'],
  router_expert_bias: ['none', 'logits', 'selection', 'scores'],
  router_group_score: ['max', 'top2_sum'],
  router_group_mask: ['zero', 'negative_infinity'],
};

class Model {
  constructor(config, weights) {
    this.c = config;
    this.w = weights;
    for (const [key, values] of Object.entries(VALUES)) {
      if (!values.includes(config[key])) refuse(key, config[key]);
    }
  }

  linear(module, x) {
    return add(mx.matmul(x, T(this.w.weight(module))), this.w.bias(module));
  }

  norm(module, prefix, x) {
    const kind = this.c[prefix + '_kind'], eps = this.c[prefix + '_eps'];
    if (kind === 'none') return x;
    const weight = this.w.get(module + '.weight'), bias = this.w.bias(module);
    if (!this.c[prefix + '_eps_outside_root']) {
      if (kind === 'layer') return mx.fast.layerNorm(x, weight, bias, eps);
      return add(mx.fast.rmsNorm(x, weight, eps), bias);
    }
    if (kind === 'layer') x = mx.subtract(x, mx.mean(x, -1, true));
    const root = mx.sqrt(mx.mean(mx.square(x), -1, true));
    return add(mx.multiply(weight, mx.divide(x, mx.add(root, eps))), bias);
  }

  // x [rows, heads, tokens, dims]: each head by itself, or all of them as one vector.
  rope(x) {
    const c = this.c, [rows, heads, tokens, dims] = x.shape, pairs = dims / 2;
    const table = c.rope_inv_freq;
    if (c.rope_span === 'all_heads' && heads > 1) {
      const whole = mx.reshape(mx.transpose(x, [0, 2, 1, 3]), [rows, 1, tokens, heads * dims]);
      const turned = this.turn(whole, table.length ? [table] : [this.inverse(heads * dims)]);
      return mx.transpose(mx.reshape(turned, [rows, tokens, heads, dims]), [0, 2, 1, 3]);
    }
    if (table.length) {
      const each = [];
      for (let i = 0; i < table.length; i += pairs) each.push(table.slice(i, i + pairs));
      return this.turn(x, each);
    }
    if (c.rope_scaling === 'none' || c.rope_scaling === 'linear') {
      const scale = c.rope_scaling === 'linear' ? 1 / c.rope_factor : 1;
      return mx.fast.rope(x, dims, c.rope_layout === 'interleaved', c.rope_base, scale, 0);
    }
    return this.turn(x, [this.inverse(dims)]);
  }

  // Radians per position for each pair of a vector of `dims`.
  inverse(dims) {
    const c = this.c, log = Math.log;
    const plain = [...Array(dims / 2).keys()].map((i) => c.rope_base ** (-2 * i / dims));
    if (c.rope_scaling === 'linear') return plain.map((f) => f / c.rope_factor);
    if (c.rope_scaling === 'longrope') return plain.map((f, i) => f / c.rope_long_factor[i]);
    if (c.rope_scaling !== 'yarn') return plain;
    const pair = (turns) =>
      dims * log(c.rope_original_max_position_embeddings / (turns * 2 * Math.PI)) / (2 * log(c.rope_base));
    const low = Math.max(Math.floor(pair(c.rope_beta_fast)), 0);
    const high = Math.min(Math.ceil(pair(c.rope_beta_slow)), dims - 1);
    return plain.map((f, i) => {
      const ramp = Math.min(Math.max((i - low) / (high - low || 0.001), 0), 1);
      return f * (1 - ramp) + f / c.rope_factor * ramp;
    });
  }

  magnitude() {
    const c = this.c, log = Math.log;
    if (c.rope_inv_freq.length) return 1;
    if (c.rope_scaling === 'yarn' && c.rope_factor > 1) {
      const grow = 0.1 * log(c.rope_factor);
      return (1 + grow * c.rope_mscale) / (1 + grow * c.rope_mscale_all_dim);
    }
    const original = c.rope_original_max_position_embeddings;
    if (c.rope_scaling !== 'longrope' || c.max_position_embeddings <= original) return 1;
    return Math.sqrt(1 + log(c.max_position_embeddings / original) / log(original));
  }

  // rates [heads or 1][pairs]; this release's kernel takes no frequencies of one's own.
  turn(x, rates) {
    const [rows, heads, tokens, dims] = x.shape, half = dims / 2;
    const interleaved = this.c.rope_layout === 'interleaved';
    const steps = mx.reshape(mx.arange(tokens), [1, tokens, 1]);
    const angle = mx.multiply(steps, mx.reshape(mx.array(rates), [rates.length, 1, half]));
    const cos = scaled(mx.cos(angle), this.magnitude()), sin = scaled(mx.sin(angle), this.magnitude());
    const pairs = mx.reshape(x, [rows, heads, tokens, ...(interleaved ? [half, 2] : [2, half])]);
    const axis = interleaved ? 4 : 3;
    const [a, b] = mx.split(pairs, 2, axis).map((part) => mx.squeeze(part, axis));
    const one = mx.subtract(mx.multiply(a, cos), mx.multiply(b, sin));
    const two = mx.add(mx.multiply(a, sin), mx.multiply(b, cos));
    return mx.reshape(mx.stack([one, two], axis), x.shape);
  }

  // [rows, tokens, heads * width] -> [rows, heads, tokens, width]
  heads(x, count) {
    const [rows, tokens, width] = x.shape;
    return mx.transpose(mx.reshape(x, [rows, tokens, count, width / count]), [0, 2, 1, 3]);
  }

  // latent [rows, tokens, rank] through a [heads, out, rank] weight
  perHead(module, latent) {
    const y = mx.matmul(mx.expandDims(latent, 1), T(this.w.weight(module)));
    const bias = this.w.bias(module);
    return bias === null ? y : mx.add(y, mx.expandDims(bias, -2));
  }

  // [content; position] of each head, either of which may be missing (null), normed together or
  // the content alone.
  headNorm(module, prefix, content, position) {
    if (this.c[prefix + '_kind'] === 'none') return [content, position];
    if (this.c.head_norm_part === 'content') return [this.norm(module, prefix, content), position];
    if (content === null) return [null, this.norm(module, prefix, position)];
    if (position === null) return [this.norm(module, prefix, content), null];
    const nope = content.shape[3], both = mx.concatenate([content, position], -1);
    return mx.split(this.norm(module, prefix, both), [nope], -1);
  }

  attention(a, x) {
    const c = this.c, heads = c.num_attention_heads, kvHeads = c.num_key_value_heads || heads;
    const hasNope = c.qk_nope_head_dim > 0, hasRope = c.qk_rope_head_dim > 0;
    let q = x, raw = x;
    if (c.q_lora_rank) q = this.norm(a + 'q_a_layernorm', 'q_norm', this.linear(a + 'q_a_proj', x));
    if (c.kv_lora_rank) raw = this.linear(a + 'kv_a_proj', x);
    const normed = c.kv_lora_rank ? this.norm(a + 'kv_a_layernorm', 'kv_norm', raw) : raw;
    const latent = scaled(normed, c.kv_latent_factor);
    let qNope = null, qRope = null, kNope = null, kRope = null;
    if (hasNope) {
      qNope = this.heads(this.linear(a + 'q_nope_proj', q), heads);
      kNope = this.perHead(a + 'k_b_proj', latent);
    }
    const values = c.value_is_key_content ? kNope : this.perHead(a + 'v_b_proj', latent);
    if (hasRope) {
      const source = {input: x, raw_latent: raw, normed_latent: latent}[c.rope_key_from];
      qRope = this.heads(this.linear(a + 'q_rope_proj', q), heads);
      const keys = scaled(this.linear(a + 'k_rope_proj', source), c.rope_key_factor);
      kRope = this.heads(keys, c.rope_keys === 'per_head' ? kvHeads : 1);
    }
    [qNope, qRope] = this.headNorm(a + 'q_head_norm', 'q_head_norm', qNope, qRope);
    // One shared key is rotated as one head; a norm over each head's key has made it many, but
    // all of them turn alike.
    const shared = c.rope_keys === 'shared';
    const forEach = (t) => mx.broadcastTo(t, [t.shape[0], kvHeads, ...t.shape.slice(2)]);
    const normedKeys = c.k_head_norm_kind !== 'none';
    if (hasRope && normedKeys && shared) kRope = forEach(kRope);
    [kNope, kRope] = this.headNorm(a + 'k_head_norm', 'k_head_norm', kNope, kRope);
    if (hasRope) {
      qRope = this.rope(qRope);
      if (normedKeys && shared) {
        kRope = mx.concatenate(mx.split(kRope, kvHeads, 1).map((head) => this.rope(head)), 1);
      } else {
        kRope = forEach(this.rope(kRope));
      }
    }
    const scale = c.softmax_scale || (c.qk_nope_head_dim + c.qk_rope_head_dim) ** -0.5;
    const ratio = (c.softmax_scale_rope || scale) / scale;
    const join = (...parts) => mx.concatenate(parts.filter((t) => t !== null), -1);
    const queries = join(qNope, qRope === null ? null : scaled(qRope, ratio));
    const out = this.attend(queries, join(kNope, kRope), values, scale);
    const [rows, , tokens] = out.shape;
    return this.linear(a + 'o_proj', mx.reshape(mx.transpose(out, [0, 2, 1, 3]), [rows, tokens, -1]));
  }

  attend(queries, keys, values, scale) {
    const repeats = queries.shape[1] / keys.shape[1], tokens = queries.shape[2];
    if (repeats > 1) [keys, values] = [keys, values].map((t) => mx.repeat(t, repeats, 1));
    const scores = mx.matmul(scaled(queries, scale), T(keys));
    const steps = mx.arange(tokens);
    const future = mx.less(mx.reshape(steps, [tokens, 1]), mx.reshape(steps, [1, tokens]));
    return mx.matmul(mx.softmax(mx.where(future, mx.array(-1e30), scores), -1, true), values);
  }

  // One network; `expert` picks from stacked weights.
  mlp(name, prefix, x, expert = null) {
    const act = activations[this.c[prefix + '_activation']];
    const pick = (t) => (t === null || expert === null ? t : t.index(expert));
    const linear = (proj, v) =>
      add(mx.matmul(v, T(pick(this.w.weight(name + proj)))), pick(this.w.bias(name + proj)));
    const up = linear('up_proj', x);
    const inner = this.c[prefix + '_gated'] ? mx.multiply(act(linear('gate_proj', x)), up) : act(up);
    return linear('down_proj', inner);
  }

  // Weights [rows, tokens, experts], zero where an expert was not chosen.
  route(gate, x) {
    const c = this.c, k = c.num_experts_per_tok;
    let z = this.linear(gate, x);
    if (c.router_logit_clamp.length) z = mx.clip(z, ...c.router_logit_clamp);
    if (c.router_expert_bias === 'logits') z = mx.add(z, this.w.get(gate + '.expert_bias'));
    let scores = z;
    if (c.router_score === 'softmax') scores = mx.softmax(z, -1, true);
    if (c.router_score === 'sigmoid') scores = mx.sigmoid(z);
    let choice = scores;
    if (['selection', 'scores'].includes(c.router_expert_bias)) {
      choice = mx.add(scores, this.w.get(gate + '.expert_bias'));
    }
    if (c.topk_group < c.n_group) choice = this.maskGroups(choice);
    if (c.router_expert_bias === 'scores') scores = choice;  // what chose is what weighs
    const chosen = best(choice, k);
    let weights;
    if (c.router_score === 'softmax_of_chosen') {
      weights = mx.softmax(mx.where(chosen, scores, mx.array(-Infinity)), -1, true);
    } else {
      weights = mx.where(chosen, scores, mx.array(0));
    }
    if (c.router_weight_clamp.length) {
      weights = mx.where(chosen, mx.clip(weights, ...c.router_weight_clamp), mx.array(0));
    }
    if (c.norm_topk_prob) {
      let total = mx.add(mx.sum(weights, -1, true), c.router_norm_eps);
      if (c.router_norm_min > 0) total = mx.maximum(total, c.router_norm_min);
      weights = mx.divide(weights, total);
    }
    return scaled(weights, c.routed_scaling_factor);
  }

  // The scores of all groups but the best become 0 or -inf.
  maskGroups(choice) {
    const c = this.c, size = c.n_routed_experts / c.n_group;
    const groups = mx.reshape(choice, [...choice.shape.slice(0, -1), c.n_group, size]);
    const two = c.router_group_score === 'top2_sum' && size > 1;
    const ranks = two ? mx.sum(mx.topk(groups, 2, -1), -1) : mx.max(groups, -1);
    const kept = mx.expandDims(best(ranks, c.topk_group), -1);
    const fill = c.router_group_mask === 'zero' ? 0 : -Infinity;
    return mx.reshape(mx.where(kept, groups, mx.array(fill)), choice.shape);
  }

  mixture(name, x) {
    const c = this.c, weights = mx.split(this.route(name + 'gate', x), c.n_routed_experts, -1);
    let y = null;
    weights.forEach((weight, expert) => {
      const part = mx.multiply(weight, this.mlp(name + 'switch_mlp.', 'routed', x, expert));
      y = y === null ? part : mx.add(y, part);
    });
    if (!c.shared_intermediate_size) return y;
    return mx.add(y, scaled(this.mlp(name + 'shared_experts.', 'shared', x), c.shared_scale));
  }

  // tokens [rows, tokens] int32 -> logits [rows, tokens, vocab]
  logits(tokens) {
    const c = this.c, embedding = this.w.weight('model.embed_tokens');
    let h = mx.take(embedding, tokens, 0);
    if (c.positions === 'learned') {
      const steps = mx.arange(0, tokens.shape[1], 1, mx.int32);
      h = mx.add(h, mx.take(this.w.weight('model.embed_positions'), steps, 0));
    }
    for (let l = 0; l < c.num_hidden_layers; ++l) {
      const block = `model.layers.${l}.`;
      const attention = this.attention(block + 'self_attn.', this.norm(block + 'input_layernorm', 'norm', h));
      h = mx.add(h, attention);
      const x = this.norm(block + 'post_attention_layernorm', 'norm', h);
      const mixture = c.n_routed_experts > 0 && l >= c.first_k_dense_replace && l % c.moe_layer_freq === c.moe_layer_offset;
      h = mx.add(h, mixture ? this.mixture(block + 'mlp.', x) : this.mlp(block + 'mlp.', 'dense', x));
    }
    h = this.norm('model.norm', c.own_final_norm ? 'final_norm' : 'norm', h);
    const head = c.tie_word_embeddings ? embedding : this.w.weight('lm_head');
    return add(mx.matmul(h, T(head)), this.w.bias('lm_head'));
  }
}

// The model of a folder, with its weights.
function load(folder) {
  const config = JSON.parse(fs.readFileSync(path.join(folder, 'config.json'), 'utf8'));
  if (config.model_type !== 'weightbridge_mla') refuse('model_type', config.model_type);
  return new Model(config, new Weights(folder, config));
}

module.exports = {load, wide, Unsupported};
