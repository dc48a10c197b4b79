"""A stand-in for mlx.nn: Module as a dict of what was assigned, and the few layers.

Modules keep MLX's rules: an array, list or module assigned to an attribute becomes
part of the tree; every array whose name does not begin with an underscore is a
parameter; loading is strict about names and shapes.
"""

import math

import mlx.core as mx


class Module(dict):
    def __init__(self):
        object.__setattr__(self, "_training", True)

    training = property(lambda self: self._training)

    def __getattr__(self, key):
        if key in self:
            return self[key]
        raise AttributeError(f"{type(self).__name__} has no {key}")

    def __setattr__(self, key, value):
        if isinstance(value, (mx.array, dict, list, tuple)):
            self[key] = value
        else:
            object.__setattr__(self, key, value)

    def freeze(self):
        return self

    def eval(self):
        for _, module in self._modules():
            object.__setattr__(module, "_training", False)
        return self

    def _children(self, prefix):
        """Of this module: (path, holder, key, value) of arrays and modules, also in lists."""
        for key, value in self.items():
            items = [(key, self, key, value)]
            if isinstance(value, (list, tuple)):
                items = [(f"{key}.{i}", value, i, item) for i, item in enumerate(value)]
            for name, holder, k, item in items:
                if not isinstance(item, (mx.array, Module)):
                    raise TypeError(f"{prefix}{name}: {type(item)} in a module's tree")
                yield prefix + name, holder, k, item

    def _modules(self, prefix=""):
        yield prefix[:-1], self
        for path, _, _, item in self._children(prefix):
            if isinstance(item, Module):
                yield from item._modules(path + ".")

    def flat_parameters(self, prefix=""):
        """{path: (holder, key)} of every array that loading must provide."""
        out = {}
        for path, holder, key, item in self._children(prefix):
            if isinstance(item, Module):
                out.update(item.flat_parameters(path + "."))
            elif not str(key).startswith("_"):
                out[path] = (holder, key)
        return out

    def load_weights(self, weights, strict=True):
        assert strict, "mlx-lm loads strictly"
        new, current = dict(weights), self.flat_parameters()
        if extra := sorted(new.keys() - current.keys()):
            raise ValueError(f"Received {len(extra)} parameters not in model: {extra}")
        if missing := sorted(current.keys() - new.keys()):
            raise ValueError(f"Missing {len(missing)} parameters: {missing}")
        for path, (holder, key) in current.items():
            if new[path].shape != holder[key].shape:
                raise ValueError(
                    f"Expected shape {holder[key].shape} but received shape "
                    f"{new[path].shape} for parameter {path}"
                )
            holder[key] = new[path]


def quantize(model, group_size=64, bits=4, *, mode="affine", class_predicate):
    """Replaces leaf modules for which class_predicate(path, module) is true or a dict."""
    replace = []
    for parent_path, parent in model._modules():
        prefix = parent_path + "." if parent_path else ""
        for path, holder, key, item in parent._children(prefix):
            if not isinstance(item, Module):
                continue
            if any(isinstance(x, Module) for _, _, _, x in item._children("")):
                continue
            answer = class_predicate(path, item)
            if answer is True:
                answer = {"group_size": group_size, "bits": bits, "mode": mode}
            if answer:
                if not hasattr(item, "to_quantized"):
                    raise ValueError(f"Unable to quantize model of type {type(item)}")
                replace.append((holder, key, item.to_quantized(**answer)))
    for holder, key, module in replace:
        holder[key] = module


class Linear(Module):
    def __init__(self, input_dims, output_dims, bias=True):
        super().__init__()
        self.weight = mx.zeros((output_dims, input_dims))
        if bias:
            self.bias = mx.zeros((output_dims,))

    def __call__(self, x):
        y = x @ self.weight.T
        return y + self.bias if "bias" in self else y

    def to_quantized(self, group_size=64, bits=4, mode="affine"):
        return QuantizedLinear(self, group_size, bits, mode)


class QuantizedLinear(Module):
    def __init__(self, plain, group_size, bits, mode):
        super().__init__()
        self.settings = _Settings(group_size, bits, mode)
        self.weight, self.scales, self.biases = mx.quantize(plain.weight, group_size, bits, mode)
        if "bias" in plain:
            self.bias = plain.bias

    def __call__(self, x):
        y = mx.quantized_matmul(x, self.weight, self.scales, self.biases, True, *self.settings())
        return y + self.bias if "bias" in self else y


class Embedding(Module):
    def __init__(self, count, dims):
        super().__init__()
        self.weight = mx.zeros((count, dims))

    def __call__(self, x):
        return self.weight[x]

    def as_linear(self, x):
        return x @ self.weight.T

    def to_quantized(self, group_size=64, bits=4, mode="affine"):
        return QuantizedEmbedding(self, group_size, bits, mode)


class QuantizedEmbedding(Module):
    def __init__(self, plain, group_size, bits, mode):
        super().__init__()
        self.settings = _Settings(group_size, bits, mode)
        self.weight, self.scales, self.biases = mx.quantize(plain.weight, group_size, bits, mode)

    def __call__(self, x):
        rows = self.weight[x], self.scales[x], self.biases[x]
        return mx.dequantize(*rows, *self.settings())

    def as_linear(self, x):
        return mx.quantized_matmul(
            x, self.weight, self.scales, self.biases, True, *self.settings()
        )


class _Settings:
    def __init__(self, *values):
        self.values = values

    def __call__(self):
        return self.values


def silu(x):
    return x * mx.sigmoid(x)


def gelu(x):
    return x * (mx.erf(x / math.sqrt(2)) + 1) / 2


def gelu_approx(x):
    return 0.5 * x * (1 + mx.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def relu(x):
    return mx.maximum(x, 0)
