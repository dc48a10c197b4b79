"""Export tokens and logits of your own PyTorch model, for `weightbridge verify --reference`.

Paste export_reference() into your code, or import it. Works on torch >= 1.13 and needs
nothing else. Writes one safetensors file with

    tokens  [sequences, length]         int32
    logits  [sequences, length, vocab]  float32
    hidden.0 ... (optional)             the residual stream after each layer, float32

Example, in the program that holds your model:

    export_reference("reference.safetensors", model, tokens,
                     layers=model.transformer.h)

and then, anywhere:

    weightbridge verify checkpoint.pt folder --reference reference.safetensors
"""

import json
import struct

import torch


def _first_tensor(output):
    """The tensor of a module's output: itself, or the first of a tuple, list, dict or object."""
    if torch.is_tensor(output):
        return output
    if hasattr(output, "logits"):
        return output.logits
    if isinstance(output, dict):
        output = list(output.values())
    for item in output:
        if torch.is_tensor(item):
            return item
    raise TypeError("no tensor in the model's output; pass a function that returns the logits")


def _save(path, tensors):
    names = {torch.float32: "F32", torch.int32: "I32"}
    header, offset = {}, 0
    for name in sorted(tensors):
        size = tensors[name].numel() * 4
        header[name] = {
            "dtype": names[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            file.write(bytes(tensors[name].contiguous().view(-1).numpy().tobytes()))


def export_reference(path, model, tokens, layers=None):
    """Run `model` on `tokens` and write what it says to `path`.

    model:  called as model(tokens); its output, or the first tensor in it, must be the logits
            of every position, [sequences, length, vocab]. Wrap it in a function if it returns
            something else, e.g. lambda t: model(t, return_all=True)[0].
    tokens: integer tensor [sequences, length] or [length].
    layers: optional modules, in order, whose output is the residual stream after each layer.
    """
    if hasattr(model, "eval"):
        model.eval()
    if tokens.dim() == 1:
        tokens = tokens[None]
    seen, hooks = {}, []
    for i, layer in enumerate(layers or []):
        def hook(_module, _inputs, output, i=i):
            seen["hidden.%d" % i] = _first_tensor(output).detach().float().cpu()
        hooks.append(layer.register_forward_hook(hook))
    try:
        with torch.no_grad():
            logits = _first_tensor(model(tokens)).detach().float().cpu()
    finally:
        for handle in hooks:
            handle.remove()
    if logits.dim() == 2 and tokens.shape[0] == 1:
        logits = logits[None]
    if logits.dim() != 3 or tuple(logits.shape[:2]) != tuple(tokens.shape):
        raise ValueError(
            "logits must be [sequences, length, vocab] = [%d, %d, ...], found %s; many models return "
            "only the last position unless they are given targets" % (*tokens.shape, list(logits.shape)))
    _save(path, dict(seen, tokens=tokens.to(torch.int32).cpu(), logits=logits))
