"""A stand-in for mlx_lm.models.switch_layers: stacked experts, chosen by index."""

import mlx.core as mx
import mlx.nn as nn


class SwitchLinear(nn.Module):
    def __init__(self, input_dims, output_dims, num_experts, bias=True):
        super().__init__()
        self.weight = mx.zeros((num_experts, output_dims, input_dims))
        if bias:
            self.bias = mx.zeros((num_experts, output_dims))

    def _multiply(self, x, indices, sorted_indices):
        return mx.gather_mm(
            x,
            self.weight.swapaxes(-1, -2),
            rhs_indices=indices,
            sorted_indices=sorted_indices,
        )

    def __call__(self, x, indices, sorted_indices=False):
        y = self._multiply(x, indices, sorted_indices)
        return y + mx.expand_dims(self.bias[indices], -2) if "bias" in self else y

    def to_quantized(self, group_size=64, bits=4, mode="affine"):
        return QuantizedSwitchLinear(self, group_size, bits, mode)


class QuantizedSwitchLinear(SwitchLinear):
    def __init__(self, plain, group_size, bits, mode):
        nn.Module.__init__(self)
        self.group_size, self.bits, self.mode = group_size, bits, mode
        self.weight, self.scales, self.biases = mx.quantize(plain.weight, group_size, bits, mode)
        if "bias" in plain:
            self.bias = plain.bias

    def _multiply(self, x, indices, sorted_indices):
        return mx.gather_qmm(
            x,
            self.weight,
            self.scales,
            self.biases,
            rhs_indices=indices,
            transpose=True,
            group_size=self.group_size,
            bits=self.bits,
            mode=self.mode,
            sorted_indices=sorted_indices,
        )


class SwitchGLU(nn.Module):
    """down(activation(up x, gate x)); from 64 choices on, tokens are sorted by expert."""

    def __init__(self, input_dims, hidden_dims, num_experts, activation, bias=False):
        super().__init__()
        self.gate_proj = SwitchLinear(input_dims, hidden_dims, num_experts, bias=bias)
        self.up_proj = SwitchLinear(input_dims, hidden_dims, num_experts, bias=bias)
        self.down_proj = SwitchLinear(hidden_dims, input_dims, num_experts, bias=bias)
        self.activation = activation

    def __call__(self, x, indices):
        x = mx.expand_dims(x, (-2, -3))
        shape, chosen, back = indices.shape, indices, None
        ordered = indices.size >= 64
        if ordered:
            flat = indices.flatten()
            order = mx.argsort(flat)
            back = mx.argsort(order)
            chosen = flat[order]
            x = x.flatten(0, -3)[order // shape[-1]]
        up = self.up_proj(x, chosen, sorted_indices=ordered)
        gate = self.gate_proj(x, chosen, sorted_indices=ordered)
        y = self.down_proj(self.activation(up, gate), chosen, sorted_indices=ordered)
        if ordered:
            y = mx.unflatten(y[back], 0, shape)
        return y.squeeze(-2)
