// Compares exact folders with golden logits, on real MLX (model.js).
//
//   node run.js FOLDER GOLDEN.safetensors [BOUND = 1e-4]
//   node run.js --all DIR [BOUND = 1e-4]      each DIR/NAME with DIR/NAME/golden.safetensors
//   node run.js --quantise FOLDER OUT BITS GROUP_SIZE
//
// Computes the logits for the golden file's "tokens" [rows, tokens] and compares them with
// its "logits". Logits beyond 10 move the bound with them, as rounding does. --quantise
// writes FOLDER once more to OUT, its matrices quantised by MLX, with golden.safetensors:
// random tokens and the logits that MLX computes from the quantised layers.
//
// Exit code 0: within the bound; 1: not; 2: wrong usage; 3: a folder asks for something that
// is not computed here, named; 77: MLX is not there.
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
const {load, wide, Unsupported} = require('./model.js');

// One line about one folder; whether it is within the bound, with every tensor used.
function compare(name, folder, goldenFile, bound) {
  const model = load(folder), golden = mx.load(goldenFile);
  let tokens = golden.tokens.astype(mx.int32);
  if (tokens.ndim === 1) tokens = mx.expandDims(tokens, 0);
  const logits = model.logits(tokens);
  const expected = mx.reshape(golden.logits.astype(mx.float32), logits.shape);
  const worst = mx.max(mx.abs(mx.subtract(logits, expected))).item();
  const allowed = bound * Math.max(1, mx.max(mx.abs(expected)).item() / 10);
  const unread = model.w.unread();
  if (unread.length) console.error(`${unread.length} tensors of the folder were not used: ${unread[0]}, ...`);
  const ok = worst <= allowed && unread.length === 0;  // NaN fails
  console.log(`${name}: max abs difference ${worst.toExponential(2)} over [${logits.shape}] ` +
              (ok ? '(ok)' : `(FAILED, bound ${allowed.toExponential(2)})`));
  return ok;
}

function all(dir, bound) {
  const names = fs.readdirSync(dir).filter((n) => fs.existsSync(path.join(dir, n, 'config.json'))).sort();
  const failed = names.filter((name) => {
    const folder = path.join(dir, name);
    try {
      return !compare(name, folder, path.join(folder, 'golden.safetensors'), bound);
    } catch (error) {
      console.log(`${name}: ${error.message} (FAILED)`);
      return true;
    }
  });
  console.log(`real MLX: ${names.length - failed.length} of ${names.length} folders within ${bound}` +
              failed.map((name) => `\n  failed: ${name}`).join(''));
  return failed.length === 0 && names.length > 0 ? 0 : 1;
}

// What the class leaves as it is: routers, norms, positions, biases.
const quantisable = (name, t) =>
  name.endsWith('.weight') && t.ndim >= 2 && !/mlp\.gate\.weight$|embed_positions\.weight$/.test(name);

function quantise(folder, out, bits, groupSize) {
  const config = JSON.parse(fs.readFileSync(path.join(folder, 'config.json'), 'utf8'));
  const tensors = mx.load(path.join(folder, 'model.safetensors')), packed = {};
  for (const [name, t] of Object.entries(tensors)) {
    if (!quantisable(name, t)) {
      packed[name] = t;
      continue;
    }
    const module = name.slice(0, -'.weight'.length), lead = t.shape.slice(0, -1);
    const parts = mx.quantize(mx.reshape(t, [-1, wide(t.shape)]), groupSize, bits);
    ['weight', 'scales', 'biases'].forEach((part, i) => {
      packed[`${module}.${part}`] = mx.reshape(parts[i], [...lead, -1]);
    });
  }
  fs.mkdirSync(out, {recursive: true});
  config.quantization = {group_size: groupSize, bits, mode: 'affine'};
  fs.writeFileSync(path.join(out, 'config.json'), JSON.stringify(config));
  mx.saveSafetensors(path.join(out, 'model.safetensors'), packed);
  const tokens = mx.array([...Array(24).keys()].map((i) => (i * 7 + 3) % config.vocab_size), mx.int32);
  const logits = load(out).logits(mx.expandDims(tokens, 0));
  mx.saveSafetensors(path.join(out, 'golden.safetensors'), {tokens, logits: mx.squeeze(logits, 0)});
  console.log(`real MLX: ${out}: ${bits} bits, groups of ${groupSize}`);
  return 0;
}

function main() {
  const [first, second, ...rest] = process.argv.slice(2);
  const bound = Number(rest[0] ?? '1e-4');
  if (first === '--quantise' && rest.length === 3) return quantise(second, rest[0], Number(rest[1]), Number(rest[2]));
  if (second === undefined || !(bound > 0)) {
    console.error('usage: node run.js FOLDER GOLDEN.safetensors [BOUND]\n' +
                  '       node run.js --all DIR [BOUND]\n' +
                  '       node run.js --quantise FOLDER OUT BITS GROUP_SIZE');
    return 2;
  }
  try {
    if (first === '--all') return all(second, bound);
    return compare('real MLX', first, second, bound) ? 0 : 1;
  } catch (error) {
    if (!(error instanceof Unsupported)) throw error;
    console.error(error.message);
    return 3;
  }
}

process.exit(main());
