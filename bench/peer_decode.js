// The peer of `weightbridge bench --decode`: the reference layout in the exact class, token after
// token with a cache, on real MLX, with as few operations as that takes: experts through the
// kernels that gather them, 4-bit layers through quantizedMatmul, fused norms and attention.
//
//   node --expose-gc peer_decode.js FOLDER CONTEXT TOKENS [--check]
//
// Prints tokens per second over TOKENS tokens after CONTEXT others; the tokens are the same in
// every run. --check compares the last logits with those of model.js (the whole sequence at once)
// and prints the largest difference. Refuses folders of any other layout, naming the key.
'use strict';

const fs = require('fs');
const path = require('path');
const mx = require('@frost-beta/mlx').core;

// What this script computes; every other value of these keys is another layout.
const LAYOUT = {
  model_type: 'weightbridge_mla', positions: 'learned', tie_word_embeddings: true, norm_kind: 'rms',
  rope_layout: 'half_split', rope_span: 'head', rope_scaling: 'none', q_norm_kind: 'none',
  kv_norm_kind: 'rms', q_head_norm_kind: 'none', k_head_norm_kind: 'none', rope_keys: 'per_head',
  rope_key_from: 'input', routed_activation: 'silu', shared_activation: 'silu',
  first_k_dense_replace: 0, router_score: 'softmax_of_chosen', router_expert_bias: 'logits',
  n_group: 1,
};

const folder = process.argv[2], context = Number(process.argv[3]), count = Number(process.argv[4]);
const config = JSON.parse(fs.readFileSync(path.join(folder, 'config.json'), 'utf8'));
for (const [key, value] of Object.entries(LAYOUT)) {
  if (config[key] !== value) throw new Error(`config.json: "${key}" is ${config[key]}; this computes ${value}`);
}
const {group_size: groupSize, bits} = config.quantization ?? {};
const tensors = mx.load(path.join(folder, 'model.safetensors'));
const heads = config.num_attention_heads, nope = config.qk_nope_head_dim, turned = config.qk_rope_head_dim;
const scale = config.softmax_scale || (nope + turned) ** -0.5;
const flat = (t) => (t.ndim > 2 ? mx.reshape(t, [-1, t.shape[t.ndim - 1]]) : t);

// x -> x w^T + bias for a module, its parts found and laid out once.
function linear(module) {
  const w = flat(tensors[module + '.weight']), bias = tensors[module + '.bias'];
  if (tensors[module + '.scales']) {
    const s = flat(tensors[module + '.scales']), b = flat(tensors[module + '.biases']);
    if (bias) return (x) => mx.add(mx.quantizedMatmul(x, w, s, b, true, groupSize, bits), bias);
    return (x) => mx.quantizedMatmul(x, w, s, b, true, groupSize, bits);
  }
  const t = mx.transpose(w);
  return bias ? (x) => mx.addmm(bias, x, t) : (x) => mx.matmul(x, t);
}

// (x [k or 1, 1, in], experts [k]) -> [k, 1, out]
function switched(module) {
  const w = tensors[module + '.weight'], bias = tensors[module + '.bias'];
  const withBias = (y, e) => (bias ? mx.add(y, mx.expandDims(mx.take(bias, e, 0), 1)) : y);
  if (tensors[module + '.scales']) {
    const s = tensors[module + '.scales'], b = tensors[module + '.biases'];
    return (x, e, rows) => withBias(mx.blockSparseQMM(x, w, s, b, rows, e, true, groupSize, bits), e);
  }
  const t = mx.swapaxes(w, 1, 2);
  return (x, e, rows) => withBias(mx.blockSparseMM(x, t, rows, e), e);
}

const norm = (module, eps) => {
  const w = tensors[module + '.weight'];
  return (x) => mx.fast.rmsNorm(x, w, eps * eps);  // the root's own epsilon: below f32's notice
};
const silu = (x) => mx.multiply(x, mx.sigmoid(x));

function layer(name) {
  const a = name + 'self_attn.', m = name + 'mlp.', k = config.num_experts_per_tok;
  const part = Object.fromEntries(['q_a_proj', 'q_nope_proj', 'q_rope_proj', 'kv_a_proj', 'k_b_proj',
    'v_b_proj', 'k_rope_proj', 'o_proj'].map((p) => [p, linear(a + p)]));
  const kvNorm = norm(a + 'kv_a_layernorm', config.kv_norm_eps);
  const before = norm(name + 'input_layernorm', config.norm_eps);
  const after = norm(name + 'post_attention_layernorm', config.norm_eps);
  const router = linear(m + 'gate'), bias = tensors[m + 'gate.expert_bias'];
  const shared = ['gate_proj', 'up_proj', 'down_proj'].map((p) => linear(m + 'shared_experts.' + p));
  const routed = ['gate_proj', 'up_proj', 'down_proj'].map((p) => switched(m + 'switch_mlp.' + p));
  const own = mx.arange(0, k, 1, mx.uint32), same = mx.zeros([k], mx.uint32);
  let keys = null, values = null;
  const split = (x) => mx.transpose(mx.reshape(x, [1, 1, heads, -1]), [0, 2, 1, 3]);
  const grow = (old, one) => (old === null ? one : mx.concatenate([old, one], 2));
  const run = (h, position) => {
    const x = before(h), q = part.q_a_proj(x), latent = kvNorm(part.kv_a_proj(x));
    const turn = (t) => mx.fast.rope(split(t), turned, false, config.rope_base, 1, position);
    const queries = mx.concatenate([split(part.q_nope_proj(q)), turn(part.q_rope_proj(q))], -1);
    keys = grow(keys, mx.concatenate([split(part.k_b_proj(latent)), turn(part.k_rope_proj(x))], -1));
    values = grow(values, split(part.v_b_proj(latent)));
    const mixed = mx.matmul(mx.softmax(mx.matmul(mx.multiply(queries, scale), mx.swapaxes(keys, 2, 3)), -1), values);
    h = mx.add(h, part.o_proj(mx.reshape(mixed, [1, -1])));
    const y = after(h), logits = mx.add(router(y), bias);
    const chosen = mx.reshape(mx.argpartition(mx.negative(logits), k - 1, -1).index(mx.Slice(), mx.Slice(0, k)), [k]);
    const weights = mx.softmax(mx.take(mx.reshape(logits, [-1]), chosen, 0), -1);
    const one = mx.expandDims(y, 0);
    const inner = mx.multiply(silu(routed[0](one, chosen, same)), routed[1](one, chosen, same));
    const answers = mx.reshape(routed[2](inner, chosen, own), [k, -1]);
    const sum = mx.matmul(mx.reshape(weights, [1, k]), answers);
    const common = shared[2](mx.multiply(silu(shared[0](y)), shared[1](y)));
    return mx.add(mx.add(h, sum), common);
  };
  return {run, state: () => [keys, values]};
}

const layers = [...Array(config.num_hidden_layers).keys()].map((l) => layer(`model.layers.${l}.`));
const last = norm('model.norm', config.norm_eps), head = linear('model.embed_tokens');
const positions = tensors['model.embed_positions.weight'];
const e = 'model.embed_tokens.';

function embed(token) {
  const id = mx.array([token], mx.uint32);
  const rows = (name) => mx.take(tensors[e + name], id, 0);
  if (!tensors[e + 'scales']) return rows('weight');
  return mx.dequantize(rows('weight'), rows('scales'), rows('biases'), groupSize, bits);
}

// The logits after one more token.
function feed(token, position) {
  let h = mx.add(embed(token), mx.take(positions, mx.array([position], mx.uint32), 0));
  for (const l of layers) h = l.run(h, position);
  const logits = head(last(h));
  mx.eval(logits, ...layers.flatMap((l) => l.state()));
  return logits;
}

mx.eval(...Object.values(tensors));
const tokens = [...Array(context + count).keys()].map((i) => (i * 7919 + 13) % config.vocab_size);
let seconds = 0, logits = null;
for (let i = 0; i < tokens.length; ++i) {
  const begin = process.hrtime.bigint();
  logits = feed(tokens[i], i);
  mx.argmax(logits).item();
  if (i >= context) seconds += Number(process.hrtime.bigint() - begin) / 1e9;
  if (global.gc && i % 16 === 15) global.gc();  // not counted: arrays of former tokens
}
console.log((count / seconds).toFixed(2));
if (process.argv[5] === '--check') {
  const whole = require('./model.js').load(folder).logits(mx.array([tokens], mx.int32));
  const want = mx.reshape(mx.take(whole, mx.array([tokens.length - 1], mx.uint32), 1), [1, -1]);
  console.log(`largest difference from the whole sequence: ${mx.max(mx.abs(mx.subtract(want, logits))).item().toExponential(2)}`);
}
