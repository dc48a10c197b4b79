"""Chat templates: what is refused when the server starts, and what stops a run."""
import json

from attacks.attack import in_group
from attacks.requests import post
from attacks.tokenizers import WHOLE

CHAT = post({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}, "/v1/chat/completions")


def attacks():
    def folder(template):
        return lambda: {"chat_template.jinja": template, "tokenizer.json": json.dumps(WHOLE).encode(), "request.http": CHAT}
    start = lambda slug, lie, rule, says, template, code="config_invalid": in_group("Chat templates")(
        slug, lie, rule, code, says, folder(template), about="chat_template.jinja",
        command=("serve", "{tiny}", "--tokenizer", "{}", "--port", "0"))
    run = lambda slug, lie, rule, says, template, code="400 chat_template": in_group("Chat templates")(
        slug, lie, rule, code, says, folder(template), server=("--tokenizer", "{}"))
    subset = "the part of Jinja in docs/chat.md"
    yield start("chat-include", "an include of another file", subset, "include", b"{% include '/etc/passwd' %}")
    yield start("chat-deep-tags", "10 000 if in each other", "100 levels", "100 levels of nesting", b"{% if a %}" * 10_000, "limit_exceeded")
    yield start("chat-deep-brackets", "10 000 brackets", "100 levels", "100 levels of nesting", b"{{ " + b"(" * 10_000 + b"1" + b")" * 10_000 + b" }}", "limit_exceeded")
    yield start("chat-huge", "2 MB", "1 MiB", "1048576 bytes", b"x" * 2_000_000, "limit_exceeded")
    yield start("chat-not-closed", "an if without its end", subset, "endif", b"{% if a %}x")
    yield run("chat-attribute", "__class__ of a text", "no attributes of Python", "__class__", b"{{ ''.__class__.__mro__ }}")
    yield run("chat-range", "range(10^12)", "at most 100 000", "range", b"{% for i in range(1000000000000) %}x{% endfor %}")
    yield run("chat-loops", "five loops of 10 000 in each other", "steps are counted", "steps",
              b"{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}{% endfor %}{% endfor %}")
    yield run("chat-doubling", "a text doubled 60 times", "bytes are counted", "bytes of work",
              b"{% set n = namespace(t='x') %}{% for i in range(60) %}{% set n.t = n.t + n.t %}{% endfor %}{{ n.t }}")
    yield run("chat-multiply", "'x' * 10^12", "bytes are counted", "bytes of work", b"{{ 'x' * 1000000000000 }}")
    yield run("chat-macro-recursion", "a macro that calls itself", "1000 levels", "levels of nesting", b"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}")
    yield run("chat-raise", "raise_exception", "the template's own refusal is told", "refuses the conversation", b"{{ raise_exception('no') }}")
