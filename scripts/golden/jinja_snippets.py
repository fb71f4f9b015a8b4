"""What transformers' Jinja environment makes of small templates, one feature each.

    python3 scripts/golden/jinja_snippets.py --out test/fixtures/tokenizers/jinja-snippets.json

Needs the packages of requirements.txt. The clock stands at 2025-07-10 09:05:03.
"""

import argparse
import datetime
import json
import pathlib

from transformers.utils import chat_template_utils

NOW = datetime.datetime(2025, 7, 10, 9, 5, 3)


class FrozenClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = FrozenClock

VARIABLES = {
    "t": "  Some tExt, 'quoted' \"twice\" \n line\ttwo  ",
    "u": "ÄÖß İstanbul 😀 日本",
    "e": "",
    "n": 7,
    "neg": -7,
    "f": 2.5,
    "yes": True,
    "no": False,
    "nil": None,
    "items": [3, 1, 2],
    "words": ["b", "A", "c", "a"],
    "mixed": [1, "a", None, True, 2.5, [1], {"k": "v"}],
    "d": {"b": 1, "a": [1, {"x": None}], "items": "shadow", "q'\"": "\\ \n\x7f\x01 é"},
    "rows": [{"n": "x", "v": 2, "g": "p"}, {"n": "y", "v": 1, "g": "q"}, {"n": "z", "v": 3, "g": "p"}, {"v": 0, "g": "q"}],
    "nested": [[1, 2], [3, [4, 5]]],
}

EXPRESSIONS = """
1 + 2 * 3 ** 2 - 4 / 2 | 7 // 2 | -7 // 2 | 7 % 3 | -7 % 3 | 7 % -3 | 7.5 // 2 | 2 ** -1 | 2 ** 0.5 | 1e16 | 1e15 | 0.1 + 0.2
1e-5 | 0.0001 | 1_000 | 0x1f | 0b11 | 0o17 | 1.0 | 3.0 * 2 | 4 / 2 | 1e22 | -0.0 | 1 / 3 | 5 == 5.0 | 1 == true
true | True | none | None | false | [] | {} | () | (1,) | (1, 2) | [1, 'a', none] | {'a': 1, "b": [2]} | mixed | d | nested
t | u | e | n | f | yes | nil | missing | missing.attr | missing is defined | nil.attr | nil['a'] | n.attr | t.attr | d.nothing | d['nothing'].x
d['items'] | d.items() ~~ list | d.b | d['b'] | d.get('b') | d.get('zz') | d.get('zz', 5) | d.keys() ~~ list | d.values() ~~ list
items[0] | items[-1] | items[9] | items[9].x | items[1:] | items[:-1] | items[::-1] | items[::2] | items[5:] | u[0] | u[-1] | u[1:5] | u[::-1] | t[2:6] | nested[1][1][0] | items['0'] | items[yes]
'a' 'b' "c" | 'it\\'s' | "\\n\\t\\x41\\u00e9\\\\ \\q" | 'a' ~ 1 ~ none ~ true ~ 1.0 | 'a' + 'b' | 'a' + 1 | 1 + 'a' | [1] + [2] | [1] + (2,) | 'ab' * 3 | 3 * 'ab' | [1] * 2 | 'a' * -1 | 'a' - 'b' | missing + 'a' | 'a' + missing | nil + 'a' | 'a' ~ missing
1 < 2 < 3 | 1 < 3 < 2 | 'a' < 'b' | 'a' < 1 | [1, 2] < [1, 3] | none < 1 | missing < 1 | 1 != 1.0 | 'a' == missing | missing == missing2 | [1] == [1.0] | {'a': 1} == {'a': 1} | (1,) == [1]
1 in items | 9 not in items | 'a' in 'abc' | 1 in 'abc' | 'a' in missing | 'b' in d | 1 in nil | missing in items | missing in 'a' | not 1 in items
yes and n | no or e | not e | not items | e or 'default' | nil and 1 | n if yes else f | n if no | (n if no) is defined | 'x' if no else 'y' if no else 'z'
n is odd | n is even | n is divisibleby 7 | n is divisibleby(2) | n is number | yes is number | yes is integer | f is float | n is float | 1.0 is integer | t is string | d is mapping | d is sequence | items is sequence | t is iterable | n is iterable | missing is iterable | nil is none | missing is none | nil is not none | n is eq 7 | n is gt(3) | n is in [7] | n is not in [7] | yes is true | yes is boolean | 1 is true | 'abc' is lower | 'ABC' is upper | '1' is lower | n is sameas 7 | range is callable | n is callable | n is nosuchtest | nil is string and 1 | n is defined and n is odd or no
t ~~ trim | '  a b ' ~~ trim | 'xxaxx' ~~ trim('x') | nil ~~ trim | n ~~ trim | items ~~ trim | missing ~~ trim | t ~~ upper | t ~~ lower | nil ~~ upper | u ~~ upper | u ~~ lower | u ~~ title | u ~~ capitalize | "hello world it's" ~~ title | 'hELLO wORLD' ~~ capitalize
u ~~ length | items ~~ length | d ~~ length | missing ~~ length | n ~~ length | nil ~~ length | items ~~ count | words ~~ first | words ~~ last | [] ~~ first | [] ~~ last | 'abc' ~~ first | 'abc' ~~ last | 'abc' ~~ list | d ~~ list | n ~~ list | missing ~~ list
words ~~ join | words ~~ join(', ') | mixed ~~ join('-') | 'abc' ~~ join('.') | rows ~~ join(',', attribute='n') | n ~~ join | words ~~ sort | words ~~ sort(reverse=true) | words ~~ sort(case_sensitive=true) | mixed ~~ sort | rows ~~ sort(attribute='v') ~~ map(attribute='v') ~~ list | words ~~ unique ~~ list | words ~~ reverse ~~ list | 'abc' ~~ reverse | items ~~ reverse ~~ list
items ~~ sum | rows ~~ sum(attribute='v') | items ~~ min | items ~~ max | words ~~ max | [] ~~ max | items ~~ batch(2) ~~ list | items ~~ batch(2, 0) ~~ list | rows ~~ groupby('g') ~~ length | rows ~~ map(attribute='n') ~~ list | rows ~~ map(attribute='n', default='-') ~~ list | words ~~ map('upper') ~~ list | words ~~ map('replace', 'a', 'x') ~~ join | nil ~~ map('upper') ~~ list
rows ~~ selectattr('n', 'defined') ~~ list ~~ length | rows ~~ selectattr('v') ~~ map(attribute='v') ~~ list | rows ~~ rejectattr('v') ~~ list | rows ~~ selectattr('g', 'equalto', 'p') ~~ map(attribute='n') ~~ join | rows ~~ selectattr('v', 'gt', 1) ~~ map(attribute='v') ~~ list | items ~~ select('odd') ~~ list | items ~~ reject('odd') ~~ list | mixed ~~ select('string') ~~ list | mixed ~~ select ~~ list | 'abc' ~~ selectattr('x') ~~ list | nil ~~ selectattr('x') ~~ list | n ~~ selectattr('x') ~~ list | rows ~~ selectattr('n', 'nosuch') ~~ list
missing ~~ default('x') | nil ~~ default('x') | e ~~ default('x') | e ~~ default('x', true) | nil ~~ d('x', boolean=true) | missing ~~ default | '3' ~~ int | '3.7' ~~ int | 'x' ~~ int | 'x' ~~ int(5) | '0x1f' ~~ int(base=16) | f ~~ int | nil ~~ int | yes ~~ int | ' 4 ' ~~ int | '3.5' ~~ float | 'x' ~~ float | 'x' ~~ float(1.5) | n ~~ float | 2.5 ~~ round | 3.5 ~~ round | 2.567 ~~ round(2) | 2.1 ~~ round(method='ceil') | 2.9 ~~ round(0, 'floor') | n ~~ round | -3 ~~ abs | f ~~ abs | 'a' ~~ abs
mixed ~~ string | nil ~~ string | missing ~~ string | d ~~ string | 1.0 ~~ string | yes ~~ string | t ~~ string | "%s and %d" ~~ format('a', 3) | '%s' % 'x' | '%.2f' % 1.005 | '%s %s' % ('a', 1) | '%d' % 'a' | '<b>&\\'"' ~~ e | '<b>' ~~ escape | '<b>' ~~ safe | 'a b/c&é' ~~ urlencode | 'one two  three' ~~ wordcount | 'abc' ~~ center(9) | 'abcdefghij klm' ~~ truncate(8) | 'abcdefghij klm' ~~ truncate(8, true) | 'a.b.c' ~~ replace('.', '-') | 'a.b.c' ~~ replace('.', '-', 1) | 'abc' ~~ replace('', '-') | n ~~ replace('7', '8')
t ~~ indent | t ~~ indent(2) | t ~~ indent(2, true) | 'a\\n\\nb' ~~ indent(2, true, true) | 'a\\n\\nb' ~~ indent(width=3, first=true) | 'a\\n' ~~ indent | 'a\\nb' ~~ indent('> ') | d ~~ dictsort | d ~~ items ~~ list | missing ~~ items ~~ list | n ~~ items ~~ list | {'b': 1, 'A': 2} ~~ dictsort | {'b': 1, 'A': 2} ~~ dictsort(by='value', reverse=true) | rows[0] ~~ attr('v') | n ~~ nosuchfilter
d ~~ tojson | mixed ~~ tojson | u ~~ tojson | t ~~ tojson | nil ~~ tojson | yes ~~ tojson | 1.0 ~~ tojson | 1e-7 ~~ tojson | 1e100 ~~ tojson | d ~~ tojson(indent=2) | d ~~ tojson(indent=0) | [] ~~ tojson(indent=2) | {} ~~ tojson(indent=2) | d ~~ tojson(sort_keys=true) | u ~~ tojson(ensure_ascii=true) | d ~~ tojson(separators=(',', ':')) | d ~~ tojson(indent=2, separators=(',', ': ')) | missing ~~ tojson | range ~~ tojson | (1, 2) ~~ tojson | {1: 2, none: 3, true: 4} ~~ tojson | d ~~ tojson(indent='\\t') | '</script>' ~~ tojson | d ~~ tojson(nosuch=1) | [missing] ~~ tojson
t.strip() | t.lstrip() | t.rstrip() | 'xaxx'.strip('x') | 'xyaxy'.rstrip('xy') | t.split() | 'a,b,,c'.split(',') | 'a,b,,c'.split(',', 1) | 'a b c'.split(none, 1) | 'a b c'.split(maxsplit=1) | 'a,b,c'.rsplit(',', 1) | 'abc'.split('') | 'a-b'.partition('-') | 'ab'.partition('-') | 'a-b-c'.rpartition('-') | 'a\\nb\\r\\nc\\n'.splitlines() | 'abc'.startswith('a') | 'abc'.startswith(('x', 'ab')) | 'abc'.endswith('c') | 'abc'.startswith(1) | 'a.b'.replace('.', '-') | 'aaa'.replace('a', 'b', 2) | 'abc'.find('c') | 'abc'.find('z') | 'abc'.index('z') | 'banana'.count('an') | '-'.join(words) | '-'.join(items) | 'abc'.upper() | 'ABC'.lower() | 'a b'.title() | 'abc'.capitalize() | '12'.isdigit() | 'ab'.isalpha() | 'a1'.isalnum() | ' '.isspace() | 'A'.isupper() | 'abc'.removeprefix('a') | 'abc'.removesuffix('c') | '{} {x}'.format(1, x=2) | '5'.zfill(3) | 'a'.ljust(3) ~ '|' | 'abc'.nosuch() | 'abc'.upper(1) | missing.upper() | n.upper()
items.append(4) | d.update({'a': 1}) | d.pop('b') | items.index(2) | items.count(1) | items.index(99) | d.copy() | range(3) ~~ list | range(1, 8, 3) ~~ list | range(5, 0, -2) ~~ list | range(200000) ~~ length | range('a') | dict(a=1, b=2) | dict([('a', 1)]) | namespace(a=1).a | namespace(a=1).b | n() | missing() | nil() | cycler is callable | joiner is callable
'{:>5}|{:<5}|{:^6}|'.format('ab', 3, 'c') | '{:*^7}'.format('x') | '{:05d} {:+d} {: d} {:,} {:_d}'.format(42, 7, 8, 1234567, 12345) | '{:.2f} {:8.3f}|{:<8.1f}|{:08.2f}'.format(1.005, f, f, neg) | '{:.0f} {:.0f} {:.0f} {:.1f}'.format(0.5, 1.5, 2.5, 0.25) | '{:e} {:.2E} {:g} {:g} {:G}'.format(12345.678, 0.00012, 1e10, 0.0001, 1e-10) | '{:.3g} {:g} {:g}'.format(1234.5, 100000, 1000000) | '{:%} {:.1%}'.format(0.25, 1) | '{:x} {:X} {:o} {:b} {:#x}'.format(255, 255, 8, 5, 255) | '{:.2}|{:5.1}|'.format('abc', 'xyz') | '{0:>4}{1:<4}{0}'.format('a', 'b') | '{name:>8}'.format(name='bob') | '{!r} {!s:>6} {x!r:<6}|'.format('a', 1, x='b') | '{:5}|{:5}|{:5}|'.format('a', 1, 2.5) | '{:>6}'.format(yes) | '{} {:}'.format(yes, nil) | '{:05}'.format('ab') | '{:,.2f}'.format(1234567.891) | '{:-d}'.format(-3) | '{:=+6d}'.format(3) | '{{}} {{{}}}'.format(1) | '{:d}'.format('x') | '{:>5}'.format(nil) | '{:>5}'.format(items) | '{:d}'.format(1.5) | '{:s}'.format(1) | '{:+}'.format('a') | '{:zz}'.format(1) | '{'.format(1) | '{} }'.format(1) | '{:10.4f}|'.format(-0.00005) | '{:.0e}'.format(2.5) | '{:f}'.format(3)
'%5s|%-5s|%5d|%-5d|%05d|%+d|% d' % ('a', 'b', 3, 4, 5, 6, 7) | '%.1f %8.2f|%-8.2f|%08.2f' % (0.25, 2.5, 2.5, -2.5) | '%i %u %x %X %o' % (7, 8, 255, 255, 8) | '%e %.1E %g %G' % (1234.5, 0.00012, 1e10, 1e-10) | '%.2s|%5.1s' % ('abc', 'xyz') | '%r %5r' % ('a', 'b') | '%(a)s %(b)5d' % {'a': 'x', 'b': 3} | '%d' % 3.9 | '%d' % -3.9 | '%%' % () | '%5%' % () | '%y' % 1 | '%' % 1 | 'abc %' % 1 | '%d%%' % 50 | '%s' % d.b | '%x' % 1.5 | '%d' % yes | '%s' % (1, 2) | '%s %s' % (1,) | '%-05d|' % 3 | '%05s' % 'a' | '%+.1f' % 2.25
'aBc ÄöX' ~~ upper | 'aBc Äö 1'.swapcase() | items ~~ slice(2) ~~ list | words ~~ slice(3) ~~ list | words ~~ slice(3, '-') ~~ list | items ~~ slice(3, 0) ~~ list | [] ~~ slice(2) ~~ list
strftime_now('%Y-%m-%d %H:%M:%S') | strftime_now('%d %b %Y') | strftime_now('%A, %B %-d, %-I:%M %p %j %U %W %V %G %u %w %y %e|%k|%l %C %D %F %R %T %c %x %X %Z%z %% %h %P %s'[0:80]) | strftime_now('%-m/%-d/%y') | raise_exception('no: ' ~ n) | raise_exception(nil)
u is string and u ~~ length > 3 | (items ~~ length) * 2 | -items[0] | -n ~~ abs | +n | not not n | items ~~ first + 1 | n ~~ string ~ 'x' | [n, f][0] | {'a': n}['a'] | {'a': n}.a | (n, f)[1] | 'a' in ['a'] and 'b' not in ['a'] | (yes) | [[1, 2], [3]] ~~ sum(start=[]) | words[1:3] ~~ join | words[n - 7] | d.a[1].x | d.a[0:1] | 'abc'[::-1] | 'abc'[-2:] | 'abc'[5:] | items[0:2:1] | items[::0] | {'a': 1, 'a': 2} | {1: 'x', true: 'y'} | {yes: 1}[1]
"""

BLOCKS = [
    "{% for x in items %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}",
    "{% for x in items %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}{{ x }}{{ loop }}",
    "{% for x in [] %}a{% else %}empty{% endfor %}|{% for x in missing %}a{% else %}none{% endfor %}",
    "{% for x in nil %}a{% endfor %}",
    "{% for x in n %}a{% endfor %}",
    "{% for x in items if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }};{% endfor %}",
    "{% for a, b in nested %}{{ a }}-{{ b }};{% endfor %}{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in items %}{{ a }}{% endfor %}",
    "{% for x in items %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}{% for x in items %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% break %}",
    "{% set x = 1 %}{% for i in items %}{% set x = i %}{{ x }}{% endfor %}{{ x }}",
    "{% set ns = namespace(x=1) %}{% for i in items %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}",
    "{% set d.x = 1 %}",
    "{% set ns = namespace(x=1) %}{% set ns._x = 2 %}",
    "{% set ns = namespace(x=1) %}{% set ns.__class__ = 2 %}",
    "{% set ns = namespace(_x=1) %}{{ ns.x }}",
    "{% set ns = namespace({'__init__': 1}) %}{{ ns.x }}",
    "{% set ns = namespace([('_', 1)]) %}{{ ns.x }}",
    "{% set ns = namespace({'x_': 1, 'a': {'_b': 2}}) %}{% set ns.y_ = 3 %}{{ ns.x_ }}{{ ns.y_ }}{{ ns.a._b }}{{ ns._x }}",
    "{% set _x = 1 %}{{ _x }}{{ dict(_x=2)._x }}{{ {'_x': 3}._x }}",
    "{% if true %}{% set x = 5 %}{% endif %}{{ x }}{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t2 = 1, 2 %}{{ t2 }}",
    "{% set a, b = items %}",
    "{% set x %}a{{ n }}\n{% endset %}[{{ x }}]{% set y | upper | trim %} abc {% endset %}[{{ y }}]",
    "{% macro m(a, b=2, c=none) %}{{ a }}-{{ b }}-{{ c }};{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(a=1, c=4) }}{{ m(1, 2, 3, 4, x=5) }}{{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}",
    "{% macro m(x) %}<{{ x }}{{ y }}>{% endmacro %}{% set y = 'late' %}{{ m(1) }}{{ m(none) }}",
    "{% macro fact(k) %}{% if k <= 1 %}1{% else %}{{ k * (fact(k - 1) | int) }}{% endif %}{% endmacro %}{{ fact(5) }}",
    "{% macro box() %}[{{ caller() }}]{% endmacro %}{% call box() %}in {{ n }}{% endcall %}",
    "{% macro each() %}{% for i in items %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(x) each() %}<{{ x }}>{% endcall %}",
    "{% macro a() %}{% set inner = 1 %}{{ inner }}{% endmacro %}{{ a() }}{{ inner }}",
    "{% filter upper %}abc {{ n }}{% endfilter %}{% filter replace('a', 'b') | trim %} aa {% endfilter %}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% for row in rows recursive %}{{ row.v }}{% if loop.first and loop.depth < 3 %}({{ loop([{'v': 9}]) }}){% endif %}{% endfor %}",
    "{% for x in items %}{{ loop.cycle('odd', 'even') }}{{ loop.changed(x > 1) }} {% endfor %}",
    "{% if n > 5 %}a{% elif n > 3 %}b{% else %}c{% endif %}{% if missing %}x{% elif nil %}y{% else %}z{% endif %}",
    "{% raw %}{{ not }} {% this %}{% endraw %}{{ n }}",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n",
    "a\n  {%- if true -%}\n  b\n  {%- endif %}\nc",
    "a\n  {%+ if true %}\n  b\n  {% endif +%}\nc\n\n",
    "a  {{- n -}}  b {{ n }} \n {{ n }}\nc",
    "  {# comment #}\nx {#- c -#}  y\n  {# a\nb #}z\n",
    "{% if true %}  {% if true %}x{% endif %}\n  {% endif %} y",
    "x\r\ny\rz\n{{ 'a\r\nb' }}\r\n",
    "{{ n }}\n{{ n }}\n\n",
    "\n\n{% if true %}\n\n x{% endif %}",
    "{% generation %}a{{ n }}{% endgeneration %}b{%- generation -%}  c  {%- endgeneration -%} d",
    "{% for x in items %}q {% generation %}{{ x }}{% set y = x %}{% endgeneration %}{{ y }}{% endfor %}",
    "{% print n %}{% print 1, 2 %}",
    "{{ n",
    "{% if n %}",
    "{% endif %}",
    "{% nosuch %}",
    "{{ n n }}",
    "{{ }}",
    "{{ 'abc }}",
    "{% for x items %}{% endfor %}",
    "{{ [1, 2 }}",
    "{{ 1 + }}",
    "{{ n | }}",
    "{# open",
    "{% raw %} open",
    "{{ a.1 }}{{ items.0 }}{{ items.1 }}",
    "{% set loop = 5 %}{{ loop }}{% for i in [1] %}{{ loop.index }}{% endfor %}",
    "{% set x = joiner(', ') %}{% for i in items %}{{ x() }}{{ i }}{% endfor %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}",
    "{% set true = 1 %}",
    "{{ '{{' }}{{ \"{%\" }}{{ {'a': {'b': 1}}['a']['b'] }}",
    "{{ {'a':{'b':{}}} }}",
    "{% if (n == 7) and\n   (f > 2) %}multi\nline{% endif %}",
    "{%- for x in items -%}\n  {{ x }}\n{%- endfor -%}\n",
    "{% set messages = [{'role': 'user', 'content': 'x'}] %}{% for m in messages %}{{ m.role }}{{ m['content'] }}{{ m.nothing }}{% endfor %}",
    "{{ items | map('string') | join(' ') }}{{ rows | map(attribute='v') | sum }}",
    "{% for g, list in rows | groupby('g') %}{{ g }}:{{ list | map(attribute='v') | join(',') }};{% endfor %}",
    "{% for g in rows | groupby('g') %}{{ g.grouper }}{{ g.list | length }}{% endfor %}",
]


def render(template: str) -> dict:
    try:
        compiled = chat_template_utils._compile_jinja_template(template)
        return {"template": template, "text": compiled.render(**json.loads(json.dumps(VARIABLES)))}
    except Exception as error:  # whatever a template can run into
        return {"template": template, "error": type(error).__name__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    expressions = [part.strip() for line in EXPRESSIONS.strip().split("\n") for part in line.split(" | ")]
    templates = [f"{{{{ {expression.replace('~~', '|')} }}}}" for expression in expressions] + BLOCKS
    cases = [render(template) for template in templates]
    lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in cases)
    head = json.dumps({"now": NOW.isoformat(), "variables": VARIABLES}, ensure_ascii=True)[:-1]
    arguments.out.write_text(f'{head}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
