"""Hostile inputs, one per lie, each with what stops it; see ../make_attack_files.py.

Owns the list that docs/security.md shows and tests/blackbox/attack_test.py runs. Standard library
only. No file does harm: what would run code elsewhere only makes an empty file in /tmp."""
from attacks import (chat_templates, configs, folders, pickles, quant_rules, recipes, requests,
                     safetensors, tensors, tokenizers, zips)

GROUPS = (pickles, tensors, zips, safetensors, folders, configs, recipes, tokenizers, quant_rules,
          chat_templates, requests)


def all_attacks():
    """Every attack, in the order of the table."""
    return [attack for group in GROUPS for attack in group.attacks()]
