"""Strict YAML: what is refused, what it says, and that nothing ends in a traceback."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvbench.errors import UsageError
from nvbench.yamlfile import locate, parse


def told(text: str | bytes) -> list[str]:
    """All that is wrong with a file, a line each."""
    data = text if isinstance(text, bytes) else text.encode()
    try:
        return parse(data, "f.yaml").lines([])
    except UsageError as error:
        return str(error).splitlines()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "f.yaml: is empty"),
        ("# nothing\n", "f.yaml: is empty"),
        ("- a\n- b\n", "f.yaml: must hold `key: value` lines, not a list"),
        ("a: 1\nb: on\n", "f.yaml:2: `on` is ambiguous: write true, false or 'on'"),
        ("a: No\n", "f.yaml:1: `No` is ambiguous: write true, false or 'No'"),
        ("a:\n  off: 1\n", "f.yaml:2: `off` is ambiguous as a key: write 'off'"),
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: `a` is given twice: first on line 1"),
        ("a: 010\n", "f.yaml:1: `010` is ambiguous: write 10 or '010'"),
        ("a:\n", "f.yaml:1: `a` has no value: write one, or null"),
        ("a: .inf\n", "f.yaml:1: `.inf` is not a number that can be used"),
        ("a: 1e999\n", "f.yaml:1: `1e999` is not a number that can be used"),
        ("a: 1\n\tb: 2\n", "f.yaml:2: a tab in the indentation (use spaces)"),
        (b"a: 1\nb: \xff\n", "f.yaml:2: is not UTF-8 text (save it as UTF-8)"),
        ("a: 1\nb: \x01\n", "f.yaml:2: holds a character that YAML does not allow"),
        ("a: &x 1\nb: *x\n", "f.yaml:2: not YAML: aliases are not supported: write the value out"),
        ("a: " + "[" * 5000, "f.yaml:1: not YAML: nested too deeply"),
        ("[a]: 1\n", "f.yaml:1: a key must be a word"),
    ],
)
def test_a_bad_file_says_where_and_what(text: str | bytes, line: str) -> None:
    assert told(text) == [line]


def test_every_fault_is_told_at_once() -> None:
    assert [line.split(": ")[0] for line in told("a: on\nb: 007\nc: 1\nc: 2\n")] == [
        "f.yaml:1",
        "f.yaml:2",
        "f.yaml:4",
    ]


def test_a_tag_is_refused() -> None:
    assert "is not supported" in told("a: !!python/object:os.system 1\n")[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10e9", 10_000_000_000),
        ("1.5e3", 1500.0),
        ("1_000_000", 1_000_000),
        ("0x1f", 31),
        ("-0.5", -0.5),
        ("52:54:00:12:34:56", "52:54:00:12:34:56"),  # YAML 1.1: a sexagesimal number
        ("0000:00:10.0", "0000:00:10.0"),
        ("2024-01-01", "2024-01-01"),
        ("'on'", "on"),
        ("true", True),
        ("~", None),
    ],
)
def test_a_scalar_means_what_it_looks_like(text: str, value: object) -> None:
    found = parse(f"a: {text}\n".encode(), "f.yaml").value["a"]
    assert (found, type(found)) == (value, type(value))


def test_an_override_takes_its_place_and_is_named_as_place() -> None:
    document = parse(b"a:\n  b: [1, 2]\n  c: 3\n", "f.yaml")
    document.override("a.b.1=5")
    document.override("a.d.e=[x]")
    document.override("a.0=[7, 8]")  # a number counts the entries of a mapping too
    assert document.value == {"a": {"b": [7, 8], "c": 3, "d": {"e": ["x"]}}}
    assert document.place(("a", "d", "e", 0)) == "-s a.d.e"
    assert document.place(("a", "c")) == "f.yaml:3"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("a", "-s 'a': needs a key and a value (write -s path.to.key=value)"),
        ("a..b=1", "-s 'a..b=1': needs a key and a value (write -s path.to.key=value)"),
        ("a.b=", "-s a.b: has no value (for none write null)"),
        ("a.b.7=1", "-s a.b.7: `a.b` has entries 0 to 1"),
        ("a.c.d=1", "-s a.c.d: `a.c` has no keys below it"),
        ("a.c=on", "-s a.c: `on` is ambiguous: write true, false or 'on'"),
        ("a.c=[1,", "-s a.c: not YAML: expected the node content, but found '<stream end>'"),
    ],
)
def test_a_bad_override_says_so(override: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(b"a:\n  b: [1, 2]\n  c: 3\n", "f.yaml").override(override)
    assert str(caught.value) == line


def test_a_section_is_laid_over_the_rest_with_its_own_lines() -> None:
    document = parse(b"a: {b: 1, c: 2}\nquick:\n  a:\n    b: 3\n", "f.yaml")
    merged = document.merged("quick")
    assert merged.value == {"a": {"b": 3, "c": 2}}
    assert (merged.place(("a", "b")), merged.place(("a", "c"))) == ("f.yaml:4", "f.yaml:1")
    assert document.merged("quick", use=False).value == {"a": {"b": 1, "c": 2}}


def test_an_unknown_name_is_told_the_nearest_and_all_names() -> None:
    with pytest.raises(UsageError, match=r"did you mean `simulated`\?; there are .*two-servers"):
        locate("testbed", "nvbench.profiles.testbeds", "simulate")


@pytest.mark.parametrize("path", ["/no/such.yaml", "/", "./x.yaml", "a\0/b", ""])
def test_a_file_that_cannot_be_read_is_one_line(path: str) -> None:
    with pytest.raises(UsageError) as caught:
        locate("testbed", "nvbench.profiles.testbeds", path)
    assert "\n" not in str(caught.value)


@given(st.one_of(st.binary(), st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_no_bytes_end_in_a_traceback(data: bytes) -> None:
    told(data)


@given(st.text(alphabet="ab:-[]{}\"'#&*!|>%@`,?\n\t 01.e_~\\<=", max_size=60))
def test_no_yaml_like_text_ends_in_a_traceback(text: str) -> None:
    told(text)


@given(st.text(alphabet="ab.=[]{}:01 -*&!'\"\n\udc80", max_size=30))
def test_no_override_ends_in_a_traceback(text: str) -> None:
    document = parse(b"a:\n  b: [1, 2]\n  1: 3\n", "f.yaml")
    with suppress(UsageError):
        document.override(text)
