// mx.quantize of real MLX on the arrays of bench/quantize_bench.cpp: node peer_quantize.js [RUNS]
// Prints "TYPE BITS MILLISECONDS" per run, 4096 x 4096 weights, groups of 64.
'use strict';

const {core: mx} = require('@frost-beta/mlx');
const runs = Number(process.argv[2] ?? 3);
const count = 4096 * 4096;
const values = new Float32Array(count);
let state = 1;
for (let i = 0; i < count; ++i) {
  let sum = 0;
  for (let k = 0; k < 4; ++k) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    sum += (state >>> 8) / 0x1000000 - 0.5;
  }
  values[i] = sum * 0.0346;
}
const rows = [];
for (let r = 0; r < 4096; ++r) rows.push(Array.from(values.subarray(r * 4096, (r + 1) * 4096)));
const plain = mx.array(rows, mx.float32);
for (const type of ['float32', 'bfloat16']) {
  const array = plain.astype(mx[type]);
  mx.eval(array);
  for (let run = 0; run < runs; ++run) {
    const begin = process.hrtime.bigint();
    mx.eval(...mx.quantize(array, 64, 4));
    console.log(type === 'float32' ? 'f32' : 'bf16', 4, Number(process.hrtime.bigint() - begin) / 1e6);
  }
}
