"""String operators against onnxruntime and by rule."""

import functools
import os
import subprocess
import sys

import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime
from runtime.errors import EngineError, LimitExceeded

SEEDS = st.integers(0, 999)
WORDS = st.lists(st.text("aBé ßx", max_size=4), min_size=1, max_size=6)


def strings(*values: str) -> np.ndarray:
    return np.array(values, object)


def assert_strings(got: np.ndarray, want: np.ndarray) -> None:
    assert (got.dtype, got.shape) == (np.dtype(object), want.shape)
    assert got.tolist() == want.tolist()
    assert all(type(text) is str for text in got.reshape(-1))


# Normalizing --------------------------------------------------------------------------


@given(
    WORDS,
    st.lists(st.text("aBé", min_size=1, max_size=2), max_size=3),
    st.booleans(),
    st.sampled_from(["LOWER", "UPPER", "NONE"]),
    st.booleans(),
)
def test_stop_words_go_before_case_changes(words, stop, exact, action, matrix):
    attributes = {"case_change_action": action, "is_case_sensitive": int(exact)}
    attributes |= {"stopwords": stop} if stop else {}
    same = (lambda w: w) if exact else str.lower
    kept = [w for w in words if same(w) not in {same(word) for word in stop}]
    change = {"LOWER": str.lower, "UPPER": str.upper, "NONE": str}[action]
    want = strings(*[change(word) for word in kept] or [""])
    x = strings(*words)
    if matrix:
        x, want = x[None], want[None]
    assert_strings(run_node("StringNormalizer", [x], attributes)[0], want)


def test_case_needs_no_locale_of_the_system():
    program = (
        "import numpy as np; from runtime_ep_cpu.ops.text import string_normalizer as s;"
        "print(ascii(s(np.array(['É', 'Σ'], object), case_change_action='LOWER',"
        "locale='tr_TR').tolist()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == r"['\xe9', '\u03c3']"


def test_other_shapes_and_actions_are_refused():
    for x, attributes in (
        (np.array("a", object), {}),
        (strings("a", "b").reshape(2, 1), {}),
        (strings("a"), {"case_change_action": "TITLE"}),
    ):
        with pytest.raises(EngineError):
            run_node("StringNormalizer", [x], attributes)


# Joining and splitting ----------------------------------------------------------------


def test_concat_broadcasts():
    a, b = strings("a", "é").reshape(2, 1), strings("x", "", "z")
    want = strings("ax", "a", "az", "éx", "é", "éz").reshape(2, 3)
    assert_strings(run_node("StringConcat", [a, b])[0], want)
    scalar = np.array("s", object)
    got = run_node("StringConcat", [scalar, scalar])[0]
    assert_strings(got, np.array("ss", object))
    got = run_node("StringConcat", [np.zeros((0, 3), object), b])[0]
    assert got.shape == (0, 3)


@given(
    st.lists(st.text("a, ", max_size=6), min_size=1, max_size=4),
    st.sampled_from([None, "", ",", "a,", " "]),
    st.none() | st.integers(0, 3),
)
def test_split_agrees_with_onnxruntime(texts, delimiter, limit):
    # with a delimiter, onnxruntime finds no substring in "" where the standard finds one
    texts = [text or ("x" if delimiter else "") for text in texts]
    attributes = {} if delimiter is None else {"delimiter": delimiter}
    attributes |= {} if limit is None else {"maxsplit": limit}
    inputs = [strings(*texts)]
    if limit == 0 and not delimiter:
        return
    want = by_onnxruntime("StringSplit", inputs, attributes, 20, outputs=2)
    got = run_node("StringSplit", inputs, attributes, 20, outputs=2)
    assert_strings(got[0], want[0])
    assert (got[1].dtype, got[1].tolist()) == (np.int64, want[1].tolist())


@pytest.mark.parametrize(
    ("shape", "delimiter", "parts", "count"),
    [
        ((0,), ",", (0, 0), (0,)),
        ((), ",", (1,), ()),
        ((2, 0, 3), "", (2, 0, 3, 0), (2, 0, 3)),
    ],
)
def test_split_adds_one_axis(shape, delimiter, parts, count):
    x = np.full(shape, "", object)
    got = run_node("StringSplit", [x], {"delimiter": delimiter}, outputs=2)
    assert (got[0].shape, got[1].shape) == (parts, count)


def test_whitespace_at_the_ends_is_dropped_before_the_last_split():
    got = run_node("StringSplit", [strings(" a\tb \n c ")], {"maxsplit": 1}, outputs=2)
    assert_strings(got[0], strings("a", "b \n c")[None])


# Matching -----------------------------------------------------------------------------

TEXTS = (
    "",
    *"aAbkKsSéÉßẞσΣς19_-.^$[]{}\\ \t\n\x0b\x00٣日",
    "ſ",
    "K",
    *("aa", "ab", "AB", "aB", "a\n", "a\nb", "\na", "a1", "a-b", "foo bar", "aab"),
    *("aaa", "a{,2}", "{2}", "x{", "aaaa", "bba", "\u00a0", "🙂", "abb", "Ab\n"),
)
PATTERN_LIST = r"""
a a* a+ a? a*? a{2} a{,2} a{2,} a{2,3} (a{2}){2} a{0} ^* ()* (|a)* (a?)* a|b a|b| (a|b)*
^a$ a$\n (?m)a$\nb (?m)(a|^b|\n)* (?m)^$\n? . (?s). .* (?s).* \A\z \Aa\z a\b.b \Ba a\B.
\d \D \w \W \s \S [\d] [^\d] [\D\d] [^\D] [\s] [\w-] \x41 \x{1F642} \101 \07 \0 \t \n \v
\pL \PL \p{L} \p{^L} \P{^L} \p{Lu} [\p{Lu}\d] [^\p{Lu}] \pN+ \p{Any} \p{C}
(?i)a (?i)k (?i)s (?i)[a-z] (?i)[^a] (?i)[^a-z] (?i)\w (?i)[\W] (?i)[^\W] (?i)[\Wk] (?i)ß
(?i)σ (?i)\p{Lu} (?i)[[:upper:]] (?i)[[:^upper:]] (?i)é (?i)[\x{17f}] (?i)ẞ
a(?i)b (a(?i)b|c)d? a(?i)b|A (?i:a)b (?i)a(?-i)b (?i-s)a (?U)a* (?s-i:.) (?i)(?:(?-i)a)b
(?:a) (a) (?P<n>a) (?P<n>a)(?P<n>b)? () \Qa.b\E \Q{2}\E \Q[ \Qab\E* \Q\Ea a\Q\E*
] []] []a] [^]] [^]a] [a-] [-a] [a-c-e] [\]] [\x41-\x43] [\d-z] [[a]] [a&&b] [a||b] [a~~b]
[[:alpha:]] [[:^alpha:]] [[:word:]] [[:space:]] [[:digit:][:space:]] [^[:alpha:]] [:a:]
[[:ascii:]] [[:punct:]] [[:cntrl:]] [[:print:]] [[:graph:]] [[:blank:]] [[:xdigit:]]
[[:lower:]] [[:alnum:]] [^\x00-\x{10FFFF}] [\x00-\x{10FFFF}] \/ \_ \- x{ \{2} a{1 a{a}
"""
REFUSED_LIST = r"""
a** a*?? a++ a{2}{3} a{3,2} a{1001} {2} *a (*a) |* (a a) (?:a (?i (?x)a (?#c)a (?^a)
a(?=b) a(?!b) (?<=a)b (?<!a)b (?>a) (?|a) (?(1)a) (a)\1 (?P=n) (?P'n'a) (?i)* \1 \8
\Z \e \E \K \G \h \R \X \x4 \x{110000} [ [] [a [b-a] [a-\d] [\b] [[:foo:]] [\Q]\E]
\p{Foo} \pX \p{ \p \pl \p{Cn} \é (?P<n
"""


@functools.cache
def texts() -> np.ndarray:
    return strings(*TEXTS)


@pytest.mark.parametrize(
    "pattern", [*PATTERN_LIST.split(), "", " ", "foo bar", "[ ]", "a|b\n"]
)
def test_patterns_mean_what_they_mean_to_re2(pattern):
    attributes = {"pattern": pattern}
    want = by_onnxruntime("RegexFullMatch", [texts()], attributes, 20)[0]
    got = run_node("RegexFullMatch", [texts()], attributes, 20)[0]
    assert got.dtype == np.bool_
    wrong = [text for text, a, b in zip(TEXTS, got, want, strict=True) if a != b]
    assert not wrong


@pytest.mark.parametrize("pattern", [*REFUSED_LIST.split(), r"\p{Greek}", r"\C", "a\\"])
def test_what_re2_or_re_cannot_say_is_refused(pattern):
    with pytest.raises(EngineError, match="cannot be used"):
        run_node("RegexFullMatch", [texts()], {"pattern": pattern})


PIECE = st.sampled_from(
    [
        *"abA^$.|()*+?",
        "(?i)",
        "(?m)",
        "(?s:",
        "[^a]",
        r"\w",
        r"\W",
        r"\b",
        "{1,2}",
        "\n",
    ]
)


@given(st.lists(PIECE, max_size=8).map("".join))
def test_random_patterns_agree_with_re2(pattern):
    peer = pytest.importorskip("onnxruntime")
    attributes = {"pattern": pattern}
    try:
        want = by_onnxruntime("RegexFullMatch", [texts()], attributes, 20)[0]
    except Exception as error:
        assert type(error).__module__.startswith(peer.__name__)
        with pytest.raises(EngineError):
            run_node("RegexFullMatch", [texts()], attributes)
        return
    got = run_node("RegexFullMatch", [texts()], attributes, 20)[0]
    assert got.tolist() == want.tolist()


def test_match_keeps_the_shape():
    for shape in ((), (0, 2), (2, 1)):
        x = np.full(shape, "a", object)
        got = run_node("RegexFullMatch", [x], {"pattern": "a"})[0]
        assert (got.shape, got.dtype) == (shape, np.bool_)
        assert got.all()


# Counting -----------------------------------------------------------------------------


def pool_of(seed: int, longest: int) -> dict:
    """Return a random pool of n-grams over a few tokens, each n-gram once."""
    random = np.random.default_rng(seed)
    pool, starts, grams = [], [], 0
    for length in range(1, longest + 1):
        starts.append(len(pool))
        count = int(random.integers(1, 6))
        rows = np.unique(random.integers(0, 5, (count, length)), axis=0)
        pool += random.permutation(rows).reshape(-1).tolist()
        grams += len(rows)
    return {
        "pool_int64s": pool,
        "ngram_counts": starts,
        "ngram_indexes": random.permutation(grams).tolist(),
    }


@given(
    SEEDS,
    st.integers(1, 4),
    st.integers(0, 3),
    st.sampled_from(["TF", "IDF", "TFIDF"]),
    st.booleans(),
    st.sampled_from([np.int32, np.int64]),
    st.booleans(),
)
def test_n_grams_agree_with_onnxruntime(seed, longest, skips, mode, text, kind, flat):
    attributes = pool_of(seed, longest)
    random = np.random.default_rng(seed)
    shortest = int(random.integers(1, longest + 1))
    # onnxruntime looks weights up by column, the standard by n-gram: give all the same
    weights = [0.5] * len(attributes["ngram_indexes"])
    attributes |= {
        "mode": mode,
        "min_gram_length": shortest,
        "max_gram_length": longest,
        "max_skip_count": skips,
        "weights": weights,
    }
    x = random.integers(0, 6, 9 if flat else (3, 7)).astype(kind)
    if text:
        attributes["pool_strings"] = [f"t{n}" for n in attributes.pop("pool_int64s")]
        x = np.array([f"t{n}" for n in x.reshape(-1)], object).reshape(x.shape)
    want = by_onnxruntime("TfIdfVectorizer", [x], attributes, 9)[0]
    got = run_node("TfIdfVectorizer", [x], attributes, 9)[0]
    assert (got.dtype, got.shape) == (np.float32, want.shape)
    assert got.tolist() == want.tolist()


PAIRS = {
    "mode": "TFIDF",
    "min_gram_length": 1,
    "max_gram_length": 1,
    "max_skip_count": 0,
    "ngram_counts": [0],
    "ngram_indexes": [2, 0, 1],
    "pool_int64s": [1, 2, 3],
}


def test_weights_belong_to_n_grams_not_columns():
    attributes = PAIRS | {"weights": [1.0, 10.0, 100.0]}
    x = np.array([1, 2, 2, 3])
    got = run_node("TfIdfVectorizer", [x], attributes)[0]
    assert got.tolist() == [20, 100, 1]
    got = run_node("TfIdfVectorizer", [x], attributes | {"mode": "IDF"})[0]
    assert got.tolist() == [10, 100, 1]
    assert run_node("TfIdfVectorizer", [x], PAIRS)[0].tolist() == [2, 1, 1]


def test_texts_without_tokens_have_no_n_grams():
    for shape in ((0,), (2, 0), (0, 4)):
        x = np.zeros(shape, np.int64)
        got = run_node("TfIdfVectorizer", [x], PAIRS)[0]
        assert (got.shape, got.sum()) == ((*shape[:-1], 3), 0)


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "tf"},
        {"min_gram_length": 2},
        {"max_skip_count": -1},
        {"ngram_counts": [0, 2]},
        {"ngram_indexes": [0, 1]},
        {"weights": [1.0]},
        {"pool_strings": ["a"]},
    ],
)
def test_attributes_that_do_not_fit_each_other_are_refused(change):
    with pytest.raises(EngineError):
        run_node("TfIdfVectorizer", [np.array([1, 2])], PAIRS | change)


def test_a_vector_too_large_for_the_machine_is_refused():
    attributes = PAIRS | {"ngram_indexes": [0, 1, 2**60]}
    with pytest.raises((EngineError, LimitExceeded)):
        run_node("TfIdfVectorizer", [np.array([1])], attributes)
