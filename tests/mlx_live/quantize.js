// What real MLX makes of f32 matrices: node quantize.js IN.safetensors OUT.safetensors
//
// Every tensor of IN, quantised (affine, 2, 4 and 8 bits, groups of 32, 64 and 128; what this
// release has), as NAME.bB.gG.weight, .scales and .biases. Exit code 77: MLX is not there.
'use strict';

let mx;
try {
  mx = require('@frost-beta/mlx').core;
} catch (error) {
  console.error(`SKIPPED: the live test on real MLX did not run: ${error.message.split('\n')[0]}`);
  process.exit(77);
}

const [input, output] = process.argv.slice(2);
const made = {};
for (const [name, tensor] of Object.entries(mx.load(input))) {
  for (const bits of [2, 4, 8]) {
    for (const group of [32, 64, 128]) {
      const [weight, scales, biases] = mx.quantize(tensor, group, bits);
      Object.assign(made, {
        [`${name}.b${bits}.g${group}.weight`]: weight,
        [`${name}.b${bits}.g${group}.scales`]: scales,
        [`${name}.b${bits}.g${group}.biases`]: biases,
      });
    }
  }
}
mx.saveSafetensors(output, made);
