"""Chat templates against Jinja itself, set up as transformers does: templates in the style of
public models over many conversations, and expressions and tags by hand and by chance.

usage: chat_template_test.py RENDER [test ...]"""
import copy
import datetime
import json
import pathlib
import random
import re
import subprocess
import sys
import unittest

try:
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2 import nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment
except ImportError:
    print("SKIPPED: python3-jinja2 is missing; tools/install_deps.sh test installs it")
    sys.exit(77)

RENDER = sys.argv.pop(1)
TEMPLATES = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "chat_templates"


class Refused(Exception):
    """raise_exception() of a template."""


class Generation(Extension):
    """{% generation %} as transformers' AssistantTracker renders it: the body."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    @staticmethod
    def _body(caller):
        return caller()


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise Refused(message)
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


ENV = environment()


def by_jinja(template, variables):
    """("text", TEXT), ("refused", MESSAGE) or ("error", MESSAGE)."""
    try:
        return "text", ENV.from_string(template).render(**copy.deepcopy(variables))
    except Refused as e:
        return "refused", str(e)
    except Exception as e:  # whatever Python raises inside
        return "error", f"{type(e).__name__}: {e}"


def by_us(cases):
    """The same for a list of (template, variables), in one process."""
    asked = "".join(json.dumps({"template": t, "variables": v}) + "\n" for t, v in cases)
    run = subprocess.run([RENDER], input=asked.encode(), stdout=subprocess.PIPE, check=True)
    out = []
    for line in run.stdout.decode().split("\n")[:-1]:
        answer = json.loads(line)
        if "text" in answer:
            out.append(("text", answer["text"]))
        elif answer["error"] == "usage":
            out.append(("refused", answer["sentence"]))
        else:
            out.append(("error", answer["sentence"]))
    assert len(out) == len(cases), (len(out), len(cases))
    return out


def turns(*contents, system=None, first="user"):
    roles = ["user", "assistant"] if first == "user" else ["assistant", "user"]
    out = [{"role": "system", "content": system}] if system is not None else []
    return out + [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)]


WORDS = "Ünïcødé – 漢字 🙂👩‍👩‍👧 \u202e\u00a0 ñ"
CONVERSATIONS = [
    turns("Hello"),
    turns("Hello", "Hi. What is it?", "Nothing"),
    turns("Hello", system="You are terse."),
    turns("  spaces around \n", "\n\tand here \n", "x", system=" padded "),
    turns("a", "b", "c", "d", "e", system=""),
    turns(""),
    turns("", "", ""),
    turns(WORDS, WORDS + "\n" + WORDS, WORDS, system=WORDS),
    turns("<|im_end|><s>[INST]</s> {{ not }} {% run %} \\n 'q' \"d\" <tag> & more"),
    turns("q", "<think>\nlong thought\n</think>\n\nshort answer", "q2"),
    turns("q", "</think>", "q2"),
    turns("Answer first", first="assistant"),
    turns("a", "b"),
    [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}],
    [{"role": "user", "content": "one"}, {"role": "system", "content": "late"}],
    [{"role": "assistant", "content": "x"}, {"role": "assistant", "content": "y"}],
    [{"role": "tool", "content": "42"}],
    [{"role": "narrator", "content": "x"}],
    [{"role": "system", "content": "only this"}],
    [{"role": "user", "content": [{"type": "text", "text": "part one"}, {"type": "text", "text": "two"}]}],
    [{"role": "user", "content": "q"},
     {"role": "assistant", "content": None, "tool_calls": [
         {"id": "1", "type": "function", "function": {"name": "sum", "arguments": {"a": 1, "b": [2.5, None, True]}}},
         {"id": "2", "type": "function", "function": {"name": "ü", "arguments": "{\"x\": 1}"}}]},
     {"role": "tool", "content": "3", "name": "sum"}, {"role": "tool", "content": "4"},
     {"role": "user", "content": "thanks"}],
    [],
]
TOOLS = [{"type": "function", "function": {"name": "sum", "description": "Adds \"numbers\" – é",
                                           "parameters": {"type": "object", "properties": {"a": {"type": "number"}},
                                                          "required": ["a"]}}}]


class PublicStyles(unittest.TestCase):
    def test_every_template_over_every_conversation(self):
        files = sorted(TEMPLATES.glob("*.jinja"))
        self.assertGreaterEqual(len(files), 12)
        cases, names = [], []
        for file in files:
            text = file.read_bytes().decode()
            for i, messages in enumerate(CONVERSATIONS):
                for generate in (True, False):
                    for tools in (None, TOOLS):
                        variables = {"messages": messages, "add_generation_prompt": generate, "tools": tools,
                                     "documents": None, "bos_token": "<s>", "eos_token": "</s>"}
                        cases.append((text, variables))
                        names.append(f"{file.name}, conversation {i}, generate {generate}, tools {bool(tools)}")
        texts = refused = 0
        for (template, variables), name, ours in zip(cases, names, by_us(cases)):
            theirs = by_jinja(template, variables)
            if theirs[0] == "text":
                texts += 1
                self.assertEqual(ours, theirs, name)
                continue
            self.assertEqual(ours[0], theirs[0], (name, ours, theirs))
            if theirs[0] == "refused":
                refused += 1
                self.assertIn(theirs[1], ours[1], name)
        self.assertGreater(texts, 500)
        self.assertGreater(refused, 100)


VARIABLES = {
    "s": "Hello World", "e": "", "u": WORDS, "ws": " \n pad\t ", "lines": "a\n\nb\r\nc", "csv": "a,b,,c",
    "n": 7, "m": -3, "z": 0, "f": 2.5, "g": -0.125, "big": 1e17, "small": 1.5e-7, "t": True, "no": False, "nil": None,
    "l": [3, 1, 2], "le": [], "ls": ["x", "yy", ""], "lm": [1, "a", None, 2.5, [True]], "d": {"a": 1, "b": "two"},
    "de": {}, "deep": {"x": {"y": [{"z": "end"}]}}, "dd": {"items": 1, "k": 2},
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo", "n": 2},
                 {"role": "user", "content": "é"}],
}

# What the documented subset holds: each must render as Jinja renders it, or fail where it fails.
EXPRESSIONS = """
1 + 2 * 3 | 7 // 2 | -7 // 2 | 7 % 3 | -7 % 3 | 7 % -3 | 7 / 2 | 4 / 2 | 2.5 // 1 | -2.5 % 1 | 1 // 0 | 1 / 0.0
n + f | n * f | m - n | -n | +m | - - n | -f | t + 1 | t * 3 | no + no | 1 - t | big | small | g | f * 1e300 * 1e300
0.1 + 0.2 | 1e16 | 1e15 | 123456789.125 | 0.0001 | 0.00001 | -0.0 | 1.0 | 100.0 | 3.14 | 1e22 | 5e-324
s ~ n ~ nil ~ t ~ f | s + e | s + n | s * 2 | 2 * s | s * -1 | l + [4] | l * 2 | (1,) + (2, 3) | [1] + (2,) | l - l
'a' 'b' "c" | 'tab\\tnl\\n' | 'q\\'s' | "\\x41\\u00e9\\U0001F642\\101\\q" | 'it' ~ "s" | '{{ x }}' | '%}'
[1, 'a', none, true, 2.5] | (1,) | (1, 2) | () | [] | {} | {'a': 1, "b": [2]} | {1: 2, none: 3} | [[1], [2, [3]]]
['it\\'s', "say \\"x\\"", 'both \\' "', '\\n\\t\\\\', 'é🙂'] | ['\\x01\\x7f\\xa0'] | u
1 < 2 | 1 < 2 < 3 | 3 > 2 > 2 | 1 == 1.0 | t == 1 | 'a' < 'b' | 'B' < 'a' | l < [4] | 1 < 'a' | nil < 1 | 1 != 2
nil == none | x == y | x == none | e == x | [1, 2] == [1, 2] | (1,) == [1] | {'a': 1} == {'a': 1.0} | 1 <= 1 >= 0
'ell' in s | 'x' in s | 'x' not in s | 1 in s | 3 in l | '3' in l | 'a' in d | 1 in d | 'a' in x | 'a' in nil
not t | not e | not not s | t and s | e and s | e or s | nil or no | x or 'y' | not x and t | 1 if t | 1 if no
1 if no else 2 | 1 if t else 2 if no else 3 | (1 if no else 2) if t else 3 | 'a' if e else 'b' if l else 'c'
d.a | d['a'] | d.b.x | d.x | d.x.y | d['x'] | d[0] | x | x.y | x['y'] | deep.x.y[0].z | deep['x'].y[-1]['z']
dd['items'] | dd['k'] | l[0] | l[-1] | l[5] | l['a'] | s[0] | s[-1] | s[99] | u[1] | u[-2] | n[0] | n.a | nil.a | d[nil]
l[1:] | l[:1] | l[:-1] | l[-2:] | l[::2] | l[::-1] | l[5:] | l[2:0:-1] | s[1:4] | s[::-1] | u[2:9] | u[::-3] | l[::0]
l[none:2] | s[:100] | s[-100:3] | (1, 2, 3)[1:] | d[1:] | n[1:] | x[1:] | l['a':] | ws[1:-1] | range(5)[1:3]|list
x is defined | d is defined | d.x is defined | x is undefined | x.y is defined | nil is none | x is none | n is none
s is string | n is string | d is mapping | l is mapping | l is iterable | s is iterable | n is iterable | d is iterable
x is iterable | n is number | f is number | t is number | s is number | n is integer | t is integer | f is float
t is boolean | n is boolean | t is true | n is true | no is false | l is sequence | d is sequence | x is sequence
n is odd | n is even | n is divisibleby 7 | n is divisibleby(2) | f is odd | n is in [7] | s is in s | n is eq 7
n is equalto 7 | n is ne(3) | n is gt 3 | n is lt 3 | n is ge 7 | n is le 6 | s is not string | x is not defined
s is lower | s|lower is lower | 'AB1' is upper | '12' is upper | e is lower | raise_exception is defined | n is callable
range is callable | l|map('string') is iterable | l|map('string') is sequence | strftime_now is defined
s|upper | s|lower | s|length | l|length | d|length | x|length | n|length | nil|length | u|length | s|count
ws|trim | ws|trim ~ '|' | s|trim('Hd') | u|trim('ñ') | n|trim | s|title | "it's a-b (c) [d]"|title | 'hELLO wORLD'|capitalize
s|replace('l', 'L') | s|replace('l', 'L', 1) | s|replace('', '-') | s|replace('', '-', 3) | s|replace('zz', 'y') | n|replace(7, 8)
l|join | l|join(', ') | ls|join('-') | s|join('.') | d|join | messages|join(', ', attribute='role') | x|join | lm|join('/') | n|join
l|first | l|last | le|first | s|first | s|last | d|first | x|first | n|first | nil|last | l|map('string')|first
x|default('d') | e|default('d') | e|default('d', true) | nil|default('d') | nil|d('d', boolean=true) | x|default | n|d(1)
d|tojson | l|tojson | s|tojson | u|tojson | nil|tojson | t|tojson | f|tojson | lm|tojson | deep|tojson | x|tojson | big|tojson
'</script>\\u2028&\\'"\\x01\\x1f\\x7f'|tojson | deep|tojson(indent=2) | lm|tojson(indent=4) | []|tojson(indent=2) | {}|tojson(indent=2)
{1: 2, true: 3, none: 4, 2.5: 5}|tojson | (1, 2)|tojson | l|tojson(indent=0) | d|tojson(false, 3) | range(3)|tojson
d|list | s|list | l|list | x|list | n|list | u|list|length | d|items|list | x|items|list | l|items|list | d.items()|list
d.keys()|list | d.values()|list | d.get('a') | d.get('x') | d.get('x', 5) | d.get('x', default=5) | d.items()|length
n|string + 'x' | f|string | nil|string | l|string | x|string | '42'|int | '4.9'|int | 'x'|int | 'x'|int(5) | f|int | t|int | ' 7 '|int
'+7'|int | '-7'|int | '1e2'|int | '1.5'|float | 'x'|float | 'x'|float(1) | n|float | nil|int | '.5'|float | '5.'|float | ''|int
n|abs | m|abs | g|abs | s|abs | s|reverse | l|reverse|list | s|safe | l|reverse|join
messages|map(attribute='role')|list | messages|map(attribute='n')|list | messages|map(attribute='n', default='-')|join(',')
messages|map(attribute='n.x', default='-')|join(',') | l|map('string')|list | ls|map('length')|list | ls|map('replace', 'y', 'z')|join
messages|selectattr('n')|list|length | messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|join(' ')
messages|rejectattr('role', 'equalto', 'user')|list | messages|selectattr('role', 'in', ['user', 'x'])|list|length
messages|selectattr('n', 'defined')|list|length | messages|rejectattr('n', 'defined')|list|length | l|select('odd')|list | l|reject('odd')|list
lm|select|list | lm|reject|list | l|select('gt', 1)|join | l|map('nope')|list | l|select('nope')|list | l|nope | l is nope
'a\\nb\\n\\nc'|indent | 'a\\nb\\n\\nc'|indent(2, true) | 'a\\n\\nb'|indent(2, blank=true) | 'a\\nb'|indent('> ', first=true) | e|indent | 'a\\n'|indent
s.upper() | s.lower() | s.title() | "they're 3rd-x"|title | "they're 3rd-x".title() | 'hELLO'.capitalize() | ws.strip() | ws.lstrip() | ws.rstrip()
s.strip('Hd') | s.lstrip('He') | s.rstrip('dl') | u.strip('ñÜ') | s.strip(none) | s.split() | s.split('o') | s.split('o', 1) | csv.split(',')
csv.split(',', maxsplit=2) | csv.rsplit(',', 1) | ws.split() | ' a  b c '.split(none, 1) | ' a  b c '.rsplit(none, 1) | s.split('') | csv.split(',,')
'</think>x</think>y'.split('</think>')[-1].lstrip('\\n') | s.rsplit('o')[0] | lines.splitlines() | lines.splitlines(true) | e.split() | e.split(',')
s.startswith('He') | s.startswith(('x', 'H')) | s.endswith('d') | s.endswith(['d']) | s.startswith(n) | s.find('o') | u.find('漢') | s.find('zz')
s.count('l') | s.count('') | 'aaa'.count('aa') | ', '.join(ls) | ''.join(l) | '-'.join(s) | s.replace('l', '') | s.replace('l', 'LL', 1)
s.removeprefix('Hel') | s.removesuffix('ld') | s.removeprefix('x') | l.index(1) | l.count(3) | l.index(9) | s.nope() | d.nope() | n.bit() | x.y()
range(3)|list | range(1, 4)|list | range(5, 0, -2)|list | range(0)|list | range(3)|length | range(2, 1, 0) | range() | range(3)[1] | 2 in range(3)
dict(a=1, b=2) | dict(d, a=5) | namespace(a=1).a | namespace(d).b | namespace(a=1).b | (n, s) | n, | n if t | [n if no else s]
messages[0].content + messages[-1]['content'] | messages[1:]|length | messages[::-1][0].role | messages|length - 1 | loop | loop.index
s|upper|lower|length * 2 + 1 | -n|abs | -(n|abs) | (s ~ n)|length | not s is string | s is string and n is number | n is number == true
[1, 2, 3,] | {'a': 1,} | (l)[0] | ((1)) | s.upper().lower().title() | {'a': {'b': [10, 20]}}['a']['b'][1] | "a" "b".upper() | 007 + 0 | 1_0
l.append(4) | d.update({}) | d.pop('a') | s.format(1) | s.__class__ | d.__len__() | ''.__class__.__mro__ | '%s' % n | 2 ** 3 | {} is mapping | () is iterable
s.isdigit() | s.encode() | d.items | s.upper | d.copy() | x() | n() | s() | raise_exception('no ' ~ n) | raise_exception(n) | true is true is true
"""

TAGS = [
    "{% for x in l %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/"
    "{{ loop.last }}/{{ loop.length }} {{ x }}\n{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem is defined }}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for x in le %}x{% else %}none{% endfor %}|{% for x in l if x > 1 %}{{ loop.length }}{{ x }}{% else %}e{% endfor %}",
    "{% for x in l if x > 9 %}{{ x }}{% else %}e{% endfor %}{% for c in s %}{{ c }}.{% endfor %}{% for k in d %}{{ k }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k, v in d|items %}{{ loop.last }}{% endfor %}",
    "{% for (a, b) in [(1, 2), [3, 4]] %}{{ a + b }} {% endfor %}{% for a, b in [(1, 2, 3)] %}{% endfor %}",
    "{% for x in nil %}{% endfor %}", "{% for x in missing %}a{% else %}b{% endfor %}", "{% for x in n %}{% endfor %}",
    "{% set a = 1 %}{% for x in l %}{{ a }}{% set a = a + x %}{{ a }} {% endfor %}{{ a }}",
    "{% set ns = namespace(a=1, l=[]) %}{% for x in l %}{% set ns.a = ns.a + x %}{% set ns.l = ns.l + [x] %}{% endfor %}{{ ns.a }}{{ ns.l }}",
    "{% set ns = namespace() %}{% if t %}{% set ns.x = 'in' %}{% set y = 2 %}{% endif %}{{ ns.x }}{{ y }}{{ ns.q is defined }}",
    "{% set d.a = 1 %}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = l %}", "{% set (a, b) = [s, n] %}{{ b }}{{ a }}",
    "{% set a = 1, 2 %}{{ a }}", "{% set b %}block {{ n }}\n{% endset %}[{{ b }}]", "{% set b | trim | upper %}\n {{ s }} \n{% endset %}[{{ b }}]",
    "{% set a = 1 %}{% set b %}{% set a = 2 %}{{ a }}{% endset %}{{ a }}{{ b }}",
    "{% if no %}a{% elif e %}b{% elif s %}c{% else %}d{% endif %}", "{% if x %}a{% endif %}b", "{% if not x and l %}yes{% endif %}",
    "{% if n > 5 %}{% if n > 6 %}6{% else %}5{% endif %}{% endif %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% for y in l %}{{ loop.index }}{% if y == 1 %}{% break %}{% endif %}{% endfor %}{{ loop.index }} {% endfor %}",
    "{% for x in l %}{% set outer = loop %}{% for y in ls %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{% for m in messages %}{% generation %}{% set q = m.content %}{{ q }}{% endgeneration %}{{ q }}{% endfor %}",
    "{% macro f(a, b=2) %}<{{ a }},{{ b }},{{ n }}>{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(b=1, a=2) }}{{ f() }}{{ f(1)|length }}",
    "{% macro f(a, b=a) %}{{ b }}{% endmacro %}{{ f(5) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{% endmacro %}{{ f(c=2) }}",
    "{% macro f(a) %}{% if a > 0 %}{{ a }}{{ f(a - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% set g = 1 %}{% macro f() %}{{ g }}{% set g = 5 %}{{ g }}{% endmacro %}{{ f() }}{{ g }}",
    "{% macro f(x) %}{% for i in x %}{{ i }}{{ loop.last }}{% endfor %}{% endmacro %}{% for y in [l, ls] %}{{ f(y) }}|{% endfor %}",
    "{% macro f(x) -%}\n  {{ x }}\n{%- endmacro %}{% set r = f('q') %}[{{ r }}]{{ r is string }}",
    # White space.
    "a\n  {% if t %}\n  b\n  {% endif %}\nc\n", "a\n  {%- if t -%}\n  b\n  {%- endif -%}\nc\n", "a  {{ n }}  \n  {{- n -}}  \n b",
    "  {% if t %}x{% endif %}  \n", "x  {% if t %}  y  {% endif %}  z", "\n\n{% if t %}\n\nx\n\n{% endif %}\n\n", "a\n  {#- c -#}  \nb", "a\n  {# c #}\nb{# d #}\n\nc",
    "a\n  {%+ if t %}b{% endif +%}\nc", "a\n  {%+ if t -%}   b{%- endif +%}   \n  c", "{% if t %}\r\nx\r\n{% endif %}\r\ny\r", "a\rb\n\r\nc\n\n", "\n", "", "\t{% if t %}\tx{% endif %}\t",
    "  {%- set a = 1 %}\n  {%- set b = 2 -%}\n  {{- a ~ b }}\n", "{{ 'a' -}}\n\n {{ 'b' }}", "{{+ n }}", "{{ '}}' }}", "{{ {'a': {'b': 1}}}}", "{% set x = {'a': {}} %}{{ x }}",
    "{#+ c +#}\nx", "{#- -#}  x", "{##}\nx", "{#-#} x", "\u00a0 {% if t %}x{% endif %}", "a\u2028  {% if t %}x{% endif %}", "a\n\u00a0\u3000{% if t %}x{% endif %}",
    "{{ 'a\nb' }}", "{%if t%}x{%endif%}", "{{n}}{{-n-}}", "{ { n } } {  % x % } {", "{{ n }} } }} %} #}", "{% for x in l -%} {{ x }} {%- endfor %}", "{%\n set\n a = [\n1,\n 2]\n%}{{\na\n}}",
    "  {# c #}  {% if t %}  x\n{% endif %}", "a {# c #}\n b {#- d #}\n c",
    "{{ '' }}\n{{ '' }}\n", "{% if t %}a\n{% else %}b\n{% endif %}\nend", "   {{ n }}", "x\n   {{- n }}",
    # What is no template.
    "{% if t %}", "{% endif %}", "{% for x in l %}{% endif %}", "{{ n", "{{ n }", "{% n %}", "{{ }}", "{{ 1 + }}", "{{ (1 }}", "{{ 1) }}", "{{ 'a }}", "{# a",
    "{% for in l %}{% endfor %}", "{% for x l %}{% endfor %}", "{% set x %}", "{% set 1 = 2 %}", "{% set x = %}", "{% else %}", "{{ a b }}", "{{ a.1.b }}x{{", "{{ l[ }}", "{{ {'a' 1} }}",
    "{% break %}", "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{{ f(a=1, 2) }}", "{{ f(**d) }}", "{{ n.1 }}", "{{ n;n }}", "{{ n ! n }}", "{{ n & n }}", "{{ @ }}",
]
# Where Jinja renders, and we say that we do not: outside the documented subset.
OUTSIDE = ["007", "1_0", "**", "%s", "upper of", "d.items", "s.upper", "isdigit", "encode", "d.copy", "s.format", "range(3)|tojson", "__class__", "__len__", "n.1 }}"]


class Subset(unittest.TestCase):
    def compare(self, cases, may_refuse=lambda template: False):
        """Every case renders to Jinja's text, or fails where Jinja fails."""
        refusals = 0
        for (template, variables), ours in zip(cases, by_us(cases)):
            theirs = by_jinja(template, variables)
            with self.subTest(template=template):
                if theirs[0] == "text" and ours[0] == "error" and may_refuse(template):
                    refusals += 1
                elif theirs[0] == "text":
                    self.assertEqual(ours, theirs)
                else:
                    self.assertEqual(ours[0], theirs[0], (ours, theirs))
                    if theirs[0] == "refused":
                        self.assertIn(theirs[1], ours[1])
        return refusals

    def test_expressions(self):
        cases = []
        for line in EXPRESSIONS.strip().splitlines():
            for part in line.split(" | "):
                cases.append(("{{ " + part + " }}", VARIABLES))
                cases.append(("{% set v = " + part + " %}{{ [v] if v is not iterable else v|list }}{{ v ~ '' }}"
                              "{{ 1 if v else 0 }}{{ v == v }}", VARIABLES))
        self.assertGreater(len(cases), 800)
        self.compare(cases, lambda t: any(o in t for o in OUTSIDE))

    def test_tags_and_white_space(self):
        self.compare([(t, VARIABLES) for t in TAGS], lambda t: any(o in t for o in OUTSIDE))

    def test_a_date_is_not_told(self):
        text, kind = "{{ strftime_now('%Y') }}", by_us([("{{ strftime_now('%Y') }}", {})])[0]
        self.assertEqual(kind[0], "error", text)
        self.assertNotIn(str(datetime.date.today().year), kind[1])


class Chance:
    """Expressions by chance, of what the subset holds."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def atom(self):
        return self.r.choice(list(VARIABLES) + ["missing", "1", "0", "-2", "2.5", "'a'", "'l'", "''", "none", "true", "[]",
                                                "'é🙂'", "[1, 'b']", "{'a': 2}", "(1, 2)"])

    def make(self, depth):
        r = self.r
        if depth == 0:
            return self.atom()
        a, b, c = (lambda: self.make(depth - 1)), (lambda: self.make(r.randrange(depth))), self.atom
        return r.choice([
            lambda: f"({a()} {r.choice(['+', '-', '*', '/', '//', '%', '~'])} {b()})",
            lambda: f"({a()} {r.choice(['==', '!=', '<', '<=', '>', '>=', 'in', 'not in'])} {b()})",
            lambda: f"({a()} {r.choice(['and', 'or'])} {b()})",
            lambda: f"(not {a()})",
            lambda: f"({a()} if {b()} else {c()})",
            lambda: f"(-{a()})",
            lambda: f"{a()}|{r.choice(['trim', 'length', 'upper', 'lower', 'tojson', 'first', 'last', 'list', 'string', 'int', 'float', 'capitalize', 'title', 'reverse', 'abs', 'items|list', 'safe', 'indent'])}",
            lambda: f"{a()}|{r.choice(['join', 'default', 'replace'])}({c()}, {c()})",
            lambda: f"{a()}|default({b()})",
            lambda: f"{a()}|join({c()})",
            lambda: f"({a()} is {r.choice(['', 'not '])}{r.choice(['defined', 'undefined', 'none', 'string', 'mapping', 'iterable', 'sequence', 'number', 'integer', 'float', 'boolean', 'true', 'false', 'odd', 'even', 'lower', 'upper'])})",
            lambda: f"({a()} is {r.choice(['equalto', 'ne', 'in', 'gt', 'le', 'divisibleby'])}({b()}))",
            lambda: f"{a()}[{c()}]",
            lambda: f"{a()}[{r.choice(['', '1', '-1', 'n', '-9'])}:{r.choice(['', '2', '-1', 'm'])}:{r.choice(['', '1', '2', '-1', '-2'])}]",
            lambda: f"{a()}.{r.choice(['a', 'role', 'content', 'x', 'k'])}",
            lambda: f"{a()}.{r.choice(['strip', 'lstrip', 'rstrip', 'split', 'upper', 'lower', 'title', 'splitlines', 'capitalize'])}()",
            lambda: f"{a()}.{r.choice(['split', 'strip', 'startswith', 'endswith', 'find', 'count', 'removeprefix', 'get', 'index', 'join'])}({c()})",
            lambda: f"{a()}.replace({c()}, {c()})",
            lambda: f"{a()}|{r.choice(['select', 'reject'])}|list",
            lambda: f"{a()}|map('{r.choice(['string', 'length', 'upper', 'tojson', 'trim', 'int'])}')|{r.choice(['list', 'join', 'first'])}",
            lambda: f"{a()}|selectattr('{r.choice(['role', 'n', 'a'])}')|list",
            lambda: f"[{a()}, {b()}]",
            lambda: f"{{'k': {a()}, {c()}: {b()}}}",
        ])()


class Sweep(unittest.TestCase):
    def test_by_chance(self):
        chance = Chance(6)
        cases = [("{{ " + chance.make(1 + i % 3) + " }}", VARIABLES) for i in range(6000)]
        texts = refusals = 0
        wrong = []
        for (template, variables), ours in zip(cases, by_us(cases)):
            theirs = by_jinja(template, variables)
            if ours[0] == "error" and theirs[0] == "text":
                # Said, not done: refused by name (docs/chat.md).
                refusals += 1
                if not re.search("not known here|is printed|63 bits|too large|not formatted|cannot be sliced", ours[1]):
                    wrong.append((template, ours, theirs))
            elif ours[0] != theirs[0] or (theirs[0] == "text" and ours != theirs):
                wrong.append((template, ours, theirs))
            texts += ours == theirs
        self.assertEqual(wrong, [], "\n".join(map(repr, wrong)))
        self.assertGreater(texts, 2000)
        self.assertLess(refusals, texts // 20)


if __name__ == "__main__":
    unittest.main()
