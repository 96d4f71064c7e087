"""Jinja templates: what they render, what they cannot reach, and what they may cost."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.jinja import render_jinja
from dipeo_server.domains.execution.templates import TemplateError
from dipeo_server.errors import NodeError

CONTEXT: dict[str, Any] = {
    "x": 1,
    "zero": 0,
    "name": "Ada",
    "nothing": None,
    "rows": [{"a": 1, "b": "t"}, {"a": 2, "b": "u"}],
    "d": {"k": [1, 2]},
    "spoken": "HTTPServer was-here 2nd",
    "big": "x" * 1_000_000,
    "many": list(range(5000)),
    "evil": "{{ x }}{% for i in y %}",
}


ENDLESS = "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}"

IN_LOOP = "{% set s = namespace(v=x) %}{{ m(s) }}{% endfor %}"


@pytest.mark.parametrize(
    "template, text",
    [
        ("", ""),
        ("plain\n", "plain\n"),
        ("{{ name }} {{ x + 1 }} {{ rows[1].b ~ name ~ 3 }}", "Ada 2 uAda3"),
        (
            "{{ 7 // 2 }} {{ 7 % 2 }} {{ 1 / 2 }} {{ 2 - 3 }} {{ 'a' * 3 }} {{ -x }}",
            "3 1 0.5 -1 aaa -1",
        ),
        (
            "{{ d }} {{ nothing }} {{ x == 1 }} {{ [x, (1, 2)] }}",
            "{'k': [1, 2]} None True [1, (1, 2)]",
        ),
        ("{{ evil }}", "{{ x }}{% for i in y %}"),
        ("{{ 'yes' if x else 'no' }}{{ 'no' if nothing is none and zero else 'yes' }}", "yesyes"),
        (
            "{% for r in rows %}{{ loop.index }}{{ r.a }}{{ ',' if not loop.last }}{% endfor %}",
            "11,22",
        ),
        ("{% for a, b in [[1, 2], [3, 4]] if a > 1 %}{{ a }}{{ b }}{% else %}-{% endfor %}", "34"),
        ("{% for k, v in d.items() %}{{ k }}{{ v }}{% endfor %}", "k[1, 2]"),
        ("{% for k in d %}{{ k }}{% endfor %}{% for c in name %}{{ c }}.{% endfor %}", "kA.d.a."),
        (
            "{% set s = namespace(n=1) %}{% for r in d %}{% set s.n = s.n+1 %}{% endfor %}{{s.n}}",
            "2",
        ),
        (
            "{% macro m(a, b=2) %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(3, b=4) }}",
            "[12][34]",
        ),
        (
            "{% macro m() %}<{{ caller(5) }}>{% endmacro %}{% call(v) m() %}{{ v }}{% endcall %}",
            "<5>",
        ),
        ("{% with a = 1, b = [2] %}{{ a }}{{ b }}{% endwith %}", "1[2]"),
        ("{% filter upper %}abc{% endfilter %}{% set t %}q{{ x }}{% endset %}{{ t }}", "ABCq1"),
        ("{% macro m(s) %}{{ s.v }}{% endmacro %}{% for r in d %}" + IN_LOOP, "1"),
        ("{% macro a() %}x{% endmacro %}{% macro b(f) %}{{ f() }}{% endmacro %}{{ b(f=a) }}", "x"),
        ("{% for k, g in rows | groupby('b') %}{{ k }}{{ g | length }}{% endfor %}", "t1u1"),
        ("{{ rows | map(attribute='a') | max }}{{ rows | groupby('a') | length }}", "22"),
        ("{% block b %}B{% endblock %}{{ self.b() }}", "BB"),
        ("{{ name[1:] }}{{ rows[:1] }}{{ many[-1] }}", "da[{'a': 1, 'b': 't'}]4999"),
        (
            "{{ rows | map(attribute='a') }}{{ rows | selectattr('a', 'gt', 1) | length }}",
            "[1, 2]1",
        ),
        ("{{ (rows | groupby('b'))[0].grouper }}{{ rows | sum(attribute='a') }}", "t3"),
        (
            "{{ [3, 1] | sort }}{{ [1, 2, 3] | batch(2) }}{{ d | dictsort }}",
            "[1, 3][[1, 2], [3]][('k', [1, 2])]",
        ),
        ("{{ nope | default('n') }}{{ nope is defined }}{{ [1, 2] | join('-') }}", "nFalse1-2"),
        (
            "{{ '<'|e }}{{ 'a b'|urlencode }}{{ 2.567 | round(1) }}{{ 'ab' | replace('a', 'b') }}",
            "&lt;a%20b2.6bb",
        ),
        (
            "{{ 'a b c' | wordwrap(1) }}{{ 'q' | indent(2, first=true) }}{{ ' t ' | trim }}",
            "a\nb\nc  qt",
        ),
        (
            "{{ {'q': '<é'} | json }}{{ [1] | json(indent=1) }}{{ '<' | tojson }}",
            '{"q": "<é"}[\n 1\n]"\\u003c"',
        ),
        (
            "{{ spoken | snake_case }} {{ spoken | kebab_case }}",
            "http_server_was_here_2nd http-server-was-here-2nd",
        ),
        (
            "{{ spoken | camel_case }} {{ spoken | pascal_case }}",
            "httpServerWasHere2nd HttpServerWasHere2nd",
        ),
        (
            "{{ 'userID' | snake_case }}{{ '' | camel_case }}{{ 'ein öl' | pascal_case }}",
            "user_idEinÖl",
        ),
        (
            "{{ name.upper() }}{{ 'a-b'.split('-') }}{{ '-'.join('a') }}{{ name.strip('A') }}",
            "ADA['a', 'b']ada",
        ),
        ("{{ name.replace('A', 'B') }}{{ 123456 | round }}{{ 'q' | indent(-9) }}", "Bda123456q"),
        (
            "{{ 'a'.center(3) }}{{ '--a'.strip('-') }}{{ d.get('z', 5) }}{{ d.keys() }}",
            " a a5['k']",
        ),
        ("{{ dict(a=1) }}{{ range(3) }}{{ range(1, 6, 2) | join }}", "{'a': 1}[0, 1, 2]135"),
        (
            "{% set c = cycler(1, 2) %}{{ c.next()~c.next() }}{% set j = joiner() %}{{ j()~j() }}",
            "12, ",
        ),
        (
            "{{ rows == rows }}{{ 1 in [1] }}{{ 1 < 2 < 3 }}{{ 3 is divisibleby 3 }}",
            "TrueTrueTrueTrue",
        ),
        ("{# note #}{% raw %}{{ raw }}{% endraw %}", "{{ raw }}"),
        # DiPeO's blocks.
        (
            "{{#if x}}1{{else}}2{{/if}}{{#if zero}}1{{ else }}2{{/if}}{{#unless zero}}3{{/unless}}",
            "123",
        ),
        ("{{#each rows}}{{ this.a }}{{#if @last}}.{{else}},{{/if}}{{/each}}", "1,2."),
        ("{{#each rows}}{{@index}}{{ @first }}{{/each}}", "0True1False"),
        ("{{#each d}}{{ this }}{{/each}}{{#each nothing}}x{{else}}none{{/each}}", "[1, 2]none"),
        ("{{#each rows}}{{#each d.k}}{{ this }}{{/each}};{{/each}}", "12;12;"),
        ("{{#if nope}}1{{else}}2{{/if}}{% if x %}3{% endif %}{{#if rows[0].a}}4{{/if}}", "234"),
        ("{{#if x}}{% raw %}{{#if y}}{% endraw %}{{/if}}", "{{#if y}}"),
        ("{{ x }}@index", "1@index"),
    ],
)
def test_a_template_is_rendered(template: str, text: str) -> None:
    before = copy.deepcopy(CONTEXT)

    assert render_jinja(template, CONTEXT) == text
    assert before == CONTEXT


@pytest.mark.parametrize("value", ["false", "No", "0", "NONE", "", 0, None, [], {}, False])
def test_dipeos_conditions_go_by_dipeos_rules(value: object) -> None:
    assert render_jinja("{{#if v}}yes{{else}}no{{/if}}", {"v": value}) == "no"


@pytest.mark.parametrize(
    "template",
    [
        # Python's objects.
        *("{{ x.__class__ }}", "{{ ''['__class__'] }}", "{{ ''.__class__.__mro__ }}"),
        *("{{ x | attr('__class__') }}", "{{ name.format }}", "{{ name['format'](1) }}"),
        "{{ '{0.__class__}'.format(x) }}",
        "{{ '{a.__class__}'.format_map(d) }}",
        "{{ rows | map(attribute='__class__') | list }}",
        "{{ rows | map(attribute='append') | list }}",
        "{{ rows | sort(attribute='__class__') }}",
        "{{ rows | groupby('__class__') }}",
        "{{ rows | map('attr', '__class__') | list }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ self.__init__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ namespace.__init__ }}",
        "{{ namespace(a=1).__class__ }}",
        "{{ (rows | map('upper')).gi_frame }}",
        "{{ dict.mro() }}",
        "{{ dict.fromkeys('ab') }}",
        "{{ range.__doc__ }}",
        "{% macro m() %}{% endmacro %}{{ m._func }}",
        "{% macro m() %}{% endmacro %}{{ m.__call__.__globals__ }}",
        "{% for i in [1] %}{{ loop._iterable }}{% endfor %}",
        "{% for i in [1] %}{{ loop.__class__ }}{% endfor %}",
        *("{{ range }}", "{{ self }}", "{{ namespace() }}", "{{ d.items }}", "{{ cycler(1) }}"),
        "{% for i in [1] %}{{ loop }}{% endfor %}",
        *("{{ lipsum() }}", "{{ rows | random }}", "{{ rows | pprint }}", "{{ config }}"),
        *("{{ x | safe }}", "{{ '<' | xmlattr }}", "{{ request }}", "{{ get_flashed_messages }}"),
        # Changes.
        *("{{ rows.append(1) }}", "{{ d.update(d) }}", "{{ d.pop('k') }}", "{{ rows.clear() }}"),
        *("{% set d.k = 1 %}", "{{ d.setdefault('z', 1) }}", "{{ rows.sort() }}"),
        # Other templates.
        *("{% include 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}"),
        *("{% extends 'x' %}", "{% include name ignore missing %}"),
        # Work.
        *("{{ 10 ** 2 }}", "{{ 9 ** 3999999 }}", "{{ 'a' * 10**9 * 3 }}", "{{ 'a' * 1000000000 }}"),
        *("{{ [0] * 1000000 }}", "{{ 1000000000 * 'a' }}", "{{ 'x'.ljust(2000000000) }}"),
        *("{{ 'x' | center(2000000000) }}", "{{ 'x'.zfill(2000000000) }}"),
        *("{{ '%0999999999d' | format(1) }}", "{{ '%0999999999d' % 1 }}", "{{ '%s' % x }}"),
        *("{{ range(10001) }}", "{{ range(1000000000) | length }}"),
        "{{ big ~ big }}",
        "{{ big + big }}",
        "{{ big }}{{ big }}",
        "{{ big | replace('x', big) }}",
        "{{ big.replace('', big) }}",
        "{{ many | join(big) }}",
        "{{ big.join(many) }}",
        "{{ big | wordwrap(1) }}",
        "{{ big | wordwrap(79, true, big) }}",
        "{{ big | replace('x', '\n') | indent(10000) }}",
        "{{ 'x' | indent(big * 2) }}",
        "{{ big | trim(big) }}",
        "{{ big.strip(big) }}",
        "{{ rows | tojson(indent=10000) }}",
        "{{ rows | json('          ') }}",
        "{{ 5 | round(1000000000) }}",
        "{{ [1] | batch(1000000000, 0) | list }}",
        "{{ [[1], [2]] | sum(start=[]) }}",
        "{{ [1] | slice(1000000000) | list }}",
        "{{ big | list }}",
        "{{ [big] * 1000 }}",
        "{{ 99999999999999999999999999999999999999999 * 999999999999999999999999999999999999999 }}",
        "{{ ('f' * 900) | int(0, 16) }}",
        ENDLESS,
        "{% for i in many %}{% if many == many[:] %}{% endif %}{% endfor %}",
        "{% for i in many %}{% if i in many %}{% endif %}{% endfor %}",
        "{% for i in many %}{% if many[1:] %}{% endif %}{% endfor %}",
        "{% for i in many %}{% if big | title %}{% endif %}{% endfor %}",
        "{% for i in many %}{% if big.upper() %}{% endif %}{% endfor %}",
        "{% for i in many %}{% if i is in many %}{% endif %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        "{{ 'x' | indent(-999999999) }}" + ENDLESS,
        "{{ [many] | map('#loop', -999999999) | length }}" + ENDLESS,
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% block b %}{{ self.b() }}{% endblock %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x~n.x %}{% endfor %}",
        "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x+n.x %}{% endfor %}",
        "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = [n.x,n.x] %}{% endfor %}",
        "{% set x = [1] %}" + "{% set x = [x, x] %}" * 60 + "{{ x == [x, x] }}",
        "{% with a = [1] %}" + "{% with a = [a, a] %}" * 30 + "{{ a }}" + "{% endwith %}" * 31,
        "{% set t %}xxxxxxxxxx{% endset %}" + "{% set t %}{{ t }}{{ t }}{% endset %}" * 40,
        "{% for n in d.k recursive %}{{ loop(d.k) }}{% endfor %}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{% if x %}" * 200 + "{% endif %}" * 200,
        "{{ [" + "1," * 20_000 + "] }}",
        "x" * 200_000,
        # Mistakes.
        *("{{ nope }}", "{{ x.nope }}", "{{ nope.x }}", "{{ rows[9] }}", "{{ nope + 1 }}"),
        *("{{ 'a' + 1 }}", "{{ x / 0 }}", "{{ -name }}", "{{ [nope] }}", "{{ nope ~ 'a' }}"),
        *("{% if x %}", "{{ x | nofilter }}", "{{ x is notest }}", "{% nosuchtag %}", "{{ x"),
        *("{% for i in 5 %}{% endfor %}", "{{ [] | first }}", "{{ x() }}", "{{ nothing | join }}"),
        *("{{ ''.join() }}", "{{ name | replace }}", "{{ name | indent([]) }}", "{% endfor %}"),
        *("{% autoescape true %}{{ x }}{% endautoescape %}", "{% do x %}", "{% trans %}"),
        *("{{#if x}}", "{{#each rows}}{{/if}}", "{{#if x}}{% endfor %}", "{{#if x}}{{#if}}{{/if}}"),
        *("{{#each nope}}x{{/each}}", "{{#each name}}x{{/each}}", "{{#each x}}x{{/each}}"),
    ],
)
def test_everything_else_is_refused_with_a_template_error(template: str) -> None:
    before = copy.deepcopy(CONTEXT)

    with pytest.raises(TemplateError) as refusal:
        render_jinja(template, CONTEXT)

    assert refusal.value.code == "TEMPLATE_ERROR"
    assert isinstance(refusal.value, NodeError)
    assert len(str(refusal.value)) < 400
    assert before == CONTEXT


@pytest.mark.parametrize(
    "template, message",
    [
        (
            "\n{{ nme }}",
            "Line 2 of the template: 'nme' is undefined; the nearest known name is 'name'",
        ),
        (
            "\n\n{% if x %}\n{{ rows[0].z }}{% endif %}",
            "Line 4 of the template: .*no attribute 'z'",
        ),
        ("\n{% if x %}", "Line 2 of the template: Unexpected end of template"),
        ("a\n{% include 'x' %}", "Line 2 of the template: include is not available"),
        ("{#\n#}{{ x ** 2 }}", r"Line 2 of the template: The power operator \*\* is not available"),
        (
            "\n{{ 'a' + 1 }}",
            r"Line 2 of the template: `\+` cannot be applied to string and integer",
        ),
        (
            "\n{{ 'a' * 99999999 }}",
            "Line 2 of the template: The result would have 99999999 characters",
        ),
        ("{{#if x}}\n{{ nope }}\n{{/if}}", "Line 2 of the template: 'nope' is undefined"),
        ("{{#if\nx}}\n{{ nope }}{{/if}}", "Line 3 of the template: 'nope' is undefined"),
    ],
)
def test_an_error_names_the_line(template: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        render_jinja(template, CONTEXT)


class _Text(str):
    __slots__ = ()


def test_only_plain_json_values_get_in() -> None:
    for value in (pytest, object(), len, {1, 2}, _Text("x"), b"x", {"a": [pytest]}, 1j):
        with pytest.raises(TemplateError, match=r"'v' holds a .* not plain JSON"):
            render_jinja("{{ v }}", {"v": value})


def test_values_that_are_not_asked_for_are_not_looked_at() -> None:
    assert render_jinja("{{ v }}", {"v": 1, "other": object()}) == "1"


def test_a_value_cannot_take_the_place_of_a_function() -> None:
    assert render_jinja("{{ range(2) }}", {"range": pytest}) == "[0, 1]"


def test_the_size_of_the_output_is_counted_in_bytes() -> None:
    assert len(render_jinja("{{ v }}", {"v": "ä" * 500_000})) == 500_000
    with pytest.raises(TemplateError, match="more than 1048576 bytes"):
        render_jinja("{{ v }}", {"v": "ä" * 600_000})


def test_one_template_is_rendered_many_times_with_a_fresh_budget() -> None:
    template = "{% for r in many %}{{ r }}{% endfor %}"

    assert len({render_jinja(template, CONTEXT) for _ in range(30)}) == 1


@given(st.text("{}%#/ifeachloop x|.()[]'\"\n+*~-", max_size=60))
def test_no_template_does_anything_but_render_or_be_refused(template: str) -> None:
    with suppress(TemplateError):
        render_jinja(template, {"x": [1, {"a": "b"}], "i": 3})


@given(st.text(max_size=40))
def test_a_text_value_is_printed_as_it_is(value: str) -> None:
    assert render_jinja("<{{ v }}>", {"v": value}) == f"<{value}>"
