#!/usr/bin/env python3
"""The peer of `weightbridge bench --decode --context`: generation without a cache, as the training
code of the reference layout does it (the whole window again for each token, logits of all places,
of which the last are kept), in PyTorch. Experts are evaluated in groups, or one token at a time.

    peer_generate.py CHECKPOINT CONTEXT TOKENS [each]

Prints tokens per second."""
import sys
import time

import torch
from peer_evaluate import forward


def main():
    path, context, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    each = sys.argv[4:] == ["each"]
    w = torch.load(path, map_location="cpu")
    vocab, block = w["wte.weight"].shape[0], w["wpe.weight"].shape[0]
    tokens = torch.tensor([(i * 7919 + 13) % vocab for i in range(context)])
    torch.manual_seed(0)
    with torch.no_grad():
        forward(w, tokens, 2, each)
        start = time.perf_counter()
        for _ in range(count):
            logits = forward(w, tokens[-block:], 2, each)[-1]
            best = logits.topk(50).values[-1]
            logits[logits < best] = float("-inf")
            tokens = torch.cat([tokens, torch.multinomial(logits.softmax(-1), 1)])
        print(f"{count / (time.perf_counter() - start):.3f}")


if __name__ == "__main__":
    main()
