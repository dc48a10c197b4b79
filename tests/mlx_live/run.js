// The exact class's forward pass on real MLX, operation by operation.
//
//   node run.js FOLDER GOLDEN.safetensors [BOUND = 1e-4]
//
// Reads a folder's config.json and model*.safetensors as docs/exact-class.md describes
// them, computes the logits for the golden file's "tokens" [rows, tokens] and compares
// them with its "logits". Quantised layers (those with scales; affine, 2, 4 or 8 bits)
// are dequantised by MLX first. Exit code 0: within the bound; 1: not; 2: wrong usage;
// 3: the folder asks for something that this script does not compute, named; 77: MLX is
// not there, or is too old for the folder's bits.
'use strict';

const fs = require('fs');
const path = require('path');

let mx;
try {
  mx = require('@frost-beta/mlx').core;
} catch (error) {
  console.error(`SKIPPED: the live test on real MLX did not run: ${error.message.split('\n')[0]}`);
  process.exit(77);
}

function refuse(key, value) {
  console.error(`config.json: "${key}" is ${JSON.stringify(value)}; this script does not compute that.`);
  process.exit(3);
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
      console.error(`SKIPPED: this MLX release cannot dequantise ${mode}, ${bits} bits`);
      process.exit(77);
    }
    const scales = this.get(module + '.scales'), biases = this.get(module + '.biases');
    const rows = (t) => mx.reshape(t, [-1, t.shape[t.ndim - 1]]);
    const plain = mx.dequantize(rows(w), rows(scales), rows(biases), groupSize, bits);
    return mx.reshape(plain, [...w.shape.slice(0, -1), plain.shape[1]]);
  }

  unread() {
    return Object.keys(this.tensors).filter((name) => !this.seen.has(name));
  }
}

const T = (w) => mx.swapaxes(w, -1, -2);
const add = (a, b) => (b === null ? a : mx.add(a, b));
const scaled = (x, factor) => (factor === 1 ? x : mx.multiply(x, factor));

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

class Model {
  constructor(config, weights) {
    this.c = config;
    this.w = weights;
    const only = (key, ...values) => values.includes(config[key]) || refuse(key, config[key]);
    only('q_head_norm_kind', 'none');
    only('k_head_norm_kind', 'none');
    only('positions', 'none', 'learned');
    only('rope_layout', 'half_split', 'interleaved');
    only('rope_scaling', 'none', 'linear', 'longrope');
    only('rope_keys', 'shared', 'per_head');
    only('router_score', 'softmax_of_chosen', 'softmax', 'sigmoid');
    only('router_expert_bias', 'none', 'logits', 'selection', 'scores');
    if (config.topk_group < config.n_group) refuse('n_group', config.n_group);
    if (config.rope_scaling === 'longrope' &&
        config.max_position_embeddings > config.rope_original_max_position_embeddings) {
      refuse('rope_original_max_position_embeddings', config.rope_original_max_position_embeddings);
    }
    for (const key of ['kv_lora_rank', 'qk_nope_head_dim', 'qk_rope_head_dim']) {
      if (!config[key]) refuse(key, config[key]);
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

  // x [rows, heads, tokens, dims]
  rope(x) {
    const c = this.c, dims = c.qk_rope_head_dim, interleaved = c.rope_layout === 'interleaved';
    if (c.rope_scaling !== 'longrope') {
      const scale = c.rope_scaling === 'linear' ? 1 / c.rope_factor : 1;
      return mx.fast.rope(x, dims, interleaved, c.rope_base, scale, 0);
    }
    // This release's kernel takes no periods of one's own.
    const inverse = c.rope_long_factor.map((f, i) => 1 / (f * c.rope_base ** (2 * i / dims)));
    const tokens = x.shape[2], half = dims / 2;
    const angle = mx.multiply(mx.reshape(mx.arange(tokens), [tokens, 1]), mx.array(inverse));
    const cos = mx.cos(angle), sin = mx.sin(angle);
    const pairs = mx.reshape(x, [...x.shape.slice(0, 3), ...(interleaved ? [half, 2] : [2, half])]);
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

  attention(a, x) {
    const c = this.c, heads = c.num_attention_heads, kvHeads = c.num_key_value_heads || heads;
    let q = x;
    if (c.q_lora_rank) q = this.norm(a + 'q_a_layernorm', 'q_norm', this.linear(a + 'q_a_proj', x));
    const raw = this.linear(a + 'kv_a_proj', x);
    const latent = scaled(this.norm(a + 'kv_a_layernorm', 'kv_norm', raw), c.kv_latent_factor);
    const source = {input: x, raw_latent: raw, normed_latent: latent}[c.rope_key_from];
    const scale = c.softmax_scale || (c.qk_nope_head_dim + c.qk_rope_head_dim) ** -0.5;
    const ratio = (c.softmax_scale_rope || scale) / scale;
    const qNope = this.heads(this.linear(a + 'q_nope_proj', q), heads);
    const qRope = scaled(this.rope(this.heads(this.linear(a + 'q_rope_proj', q), heads)), ratio);
    const kNope = this.perHead(a + 'k_b_proj', latent);
    let kRope = scaled(this.linear(a + 'k_rope_proj', source), c.rope_key_factor);
    kRope = this.rope(this.heads(kRope, c.rope_keys === 'per_head' ? kvHeads : 1));
    kRope = mx.broadcastTo(kRope, [...kNope.shape.slice(0, 3), c.qk_rope_head_dim]);
    const values = c.value_is_key_content ? kNope : this.perHead(a + 'v_b_proj', latent);
    const out = this.attend(mx.concatenate([qNope, qRope], -1), mx.concatenate([kNope, kRope], -1), values, scale);
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
    if (c.router_expert_bias === 'logits') z = mx.add(z, this.w.get(gate + '.expert_bias'));
    let scores = z;
    if (c.router_score === 'softmax') scores = mx.softmax(z, -1, true);
    if (c.router_score === 'sigmoid') scores = mx.sigmoid(z);
    let choice = scores;
    if (['selection', 'scores'].includes(c.router_expert_bias)) {
      choice = mx.add(scores, this.w.get(gate + '.expert_bias'));
    }
    if (c.router_expert_bias === 'scores') scores = choice;  // what chose is what weighs
    const order = mx.argsort(mx.negative(choice), -1);
    const rank = mx.argsort(order, -1);  // where each expert stands
    const chosen = mx.less(rank, mx.array(k, mx.uint32));
    let weights;
    if (c.router_score === 'softmax_of_chosen') {
      weights = mx.softmax(mx.where(chosen, scores, mx.array(-Infinity)), -1, true);
    } else {
      weights = mx.where(chosen, scores, mx.array(0));
    }
    if (c.norm_topk_prob) {
      weights = mx.divide(weights, mx.add(mx.sum(weights, -1, true), c.router_norm_eps));
    }
    return scaled(weights, c.routed_scaling_factor);
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
      const mixture = c.n_routed_experts > 0 && l >= c.first_k_dense_replace && l % c.moe_layer_freq === 0;
      h = mx.add(h, mixture ? this.mixture(block + 'mlp.', x) : this.mlp(block + 'mlp.', 'dense', x));
    }
    h = this.norm('model.norm', 'norm', h);
    const head = c.tie_word_embeddings ? embedding : this.w.weight('lm_head');
    return add(mx.matmul(h, T(head)), this.w.bias('lm_head'));
  }
}

function main() {
  const [folder, goldenFile, bound = '1e-4'] = process.argv.slice(2);
  if (!goldenFile || !(Number(bound) > 0)) {
    console.error('usage: node run.js FOLDER GOLDEN.safetensors [BOUND]');
    return 2;
  }
  const config = JSON.parse(fs.readFileSync(path.join(folder, 'config.json'), 'utf8'));
  if (config.model_type !== 'weightbridge_mla') refuse('model_type', config.model_type);
  const weights = new Weights(folder, config);
  const golden = mx.load(goldenFile);
  let tokens = golden.tokens.astype(mx.int32);
  if (tokens.ndim === 1) tokens = mx.expandDims(tokens, 0);
  const logits = new Model(config, weights).logits(tokens);
  const expected = mx.reshape(golden.logits.astype(mx.float32), logits.shape);
  const worst = mx.max(mx.abs(mx.subtract(logits, expected))).item();
  const unread = weights.unread();
  if (unread.length) console.error(`${unread.length} tensors of the folder were not used: ${unread[0]}, ...`);
  const ok = worst <= Number(bound) && unread.length === 0;  // NaN fails
  console.log(`real MLX: max abs difference ${worst.toExponential(2)} over [${logits.shape}] ` +
              (ok ? '(ok)' : `(FAILED, bound ${bound})`));
  return ok ? 0 : 1;
}

process.exit(main());
