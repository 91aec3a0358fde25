import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepmerge.errors import ReadError
from deepmerge.names import for_toml
from deepmerge.zoo.manifest import Expect, Limits, manifest_text, read_manifest

HEAD = "version = 1\n"
MODEL = '[[model]]\nname = "a"\nprototxt = "a.prototxt"\n'


def problem(manifest) -> str:
    """The only problem of a manifest, without the file."""
    (line,) = manifest.problems
    assert line.startswith(f"{manifest.file}: ")
    return line.removeprefix(f"{manifest.file}: ")


def test_a_model_takes_the_defaults_that_it_does_not_replace(manifest):
    found = manifest(
        HEAD + '[defaults]\nexact = true\nwidth = 0.5\ntags = ["x"]\nexpect.verify = 1e-5\nlimits.seconds = 60\n'
        'report = false\n[[model]]\nprototxt = "nets/a.prototxt"\nexact = false\nsteps = ["conv1", "pool"]\n'
        'expect.speedup = 1.5\nlicence = "MIT"\nsha256.prototxt = "' + "A" * 64 + '"\n'
        + MODEL.replace('"a"', '"b"')
    )  # fmt: skip
    assert found.problems == []
    first, second = found.models
    assert (first.name, first.prototxt, first.caffemodel) == ("a", "nets/a.prototxt", "nets/a.caffemodel")
    assert first.words == ("--steps=conv1,pool", "--width=0.5")
    assert first.expect == Expect(verify=1e-5, speedup=1.5) and first.limits == Limits(60)
    assert first.notes == {"tags": ["x"], "licence": "MIT"} and first.sha256 == {"prototxt": "a" * 64}
    assert second.words == ("--exact", "--width=0.5") and second.sha256 == {}
    assert [model.number for model in found.models] == [1, 2]


def test_a_report_is_written_unless_the_manifest_says_no(manifest):
    assert manifest(HEAD + MODEL).models[0].words == ("--report",)


def test_repeated_options_are_tables_or_lists(manifest):
    (model,) = manifest(
        HEAD + MODEL + 'solver = {base_lr = 0.01}\ninput = ["data=1,3,8,8"]\nmean = [1, 2.5, 3]\n'
    ).models
    assert set(model.words) == {"--report", "--solver=base_lr=0.01", "--input=data=1,3,8,8", "--mean=1,2.5,3"}


def test_every_option_of_convert_but_the_zoos_own_is_a_key(converter):
    from deepmerge.zoo.manifest import OWN
    from tests.cli.listing import options

    spelt = {max(names, key=len) for names in options("convert")}
    theirs = {option.spelling for option in converter.options.values()}
    assert spelt - theirs == {"--out", "--dry-run", "--force", "--json", "--quiet", "--verbose", "--debug"}
    assert not set(OWN) & set(converter.options), "an option that a model's own key hides"


def test_files_and_images_of_options_are_what_the_result_depends_on(manifest):
    (model,) = manifest(HEAD + MODEL + 'train_val = "t.prototxt"\ntucker = true\ncalibration = "npz:x.npz"\n').models
    assert model.reads == {"train_val": "t.prototxt", "calibration": "npz:x.npz"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MODEL, "has no version; begin it with: version = 1"),
        ("version = 2\n" + MODEL, "version 2 is not known; begin it with: version = 1"),
        (HEAD, "has no [[model]]; `deepmerge zoo init FOLDER` writes a manifest"),
        (HEAD + "[model]\nname = 'a'\n", "models are written as [[model]]"),
        (HEAD + "defaults = 3\n" + MODEL, "defaults are written as [defaults]"),
        (HEAD + "[default]\n" + MODEL, "unknown key 'default'; did you mean 'defaults'"),
        (HEAD + "[defaults]\nname = 'x'\n" + MODEL, "[defaults]: unknown key 'name'; did you mean"),
        (HEAD + MODEL + "with = 0.5\n", "model 'a': unknown key 'with'; did you mean 'width'"),
        (HEAD + MODEL + "recover-minutes = 5\n", "model 'a': unknown key 'recover-minutes'; did you mean 'recover_minutes'"),
        (HEAD + MODEL + "out = 'x'\n", "model 'a': unknown key 'out'"),
        (HEAD + MODEL + "exact = 1\n", "model 'a', exact: expected true or false, found 1"),
        (HEAD + MODEL + "width = true\n", "model 'a', width: expected a string or a number, found True"),
        (HEAD + MODEL + "width = 'wide'\n", "model 'a': Invalid value for '--width':"),
        (HEAD + MODEL + "scale = nan\n", "model 'a': Invalid value for '--scale': 'nan' is not a finite number"),
        (HEAD + MODEL + "absorb = ['lrm']\n", "model 'a': Invalid value for '--absorb': 'lrm' is not one of"),
        (HEAD + MODEL + "expect.verifi = 1\n", "model 'a', expect: unknown key 'verifi'; did you mean 'verify'"),
        (HEAD + MODEL + "expect = 1\n", "model 'a', expect: expected a table, found 1"),
        (HEAD + MODEL + "expect.verify = -1\n", "model 'a', expect, verify: expected a number from 0 on, found -1"),
        (HEAD + MODEL + "expect.verify = nan\n", "model 'a', expect, verify: expected a number from 0 on, found nan"),
        (HEAD + MODEL + "expect.max_loss = 1\n", "model 'a', expect: max_loss and data go together"),
        (HEAD + MODEL + "expect.target = 'nni'\n", "model 'a', expect, target: there is no target 'nni'; did you mean 'nnie'"),
        (HEAD + MODEL + "limits.minutes = 3\n", "model 'a', limits: unknown key 'minutes'"),
        (HEAD + MODEL + "limits.gigabytes = '3'\n", "model 'a', limits, gigabytes: expected a number from 0 on"),
        (HEAD + MODEL + "sha256.prototxt = 'abc'\n", "model 'a', sha256, prototxt: expected 64 hexadecimal digits"),
        (HEAD + MODEL + "tags = 'x'\n", "model 'a', tags: expected a list of strings, found 'x'"),
        (HEAD + "[[model]]\nname = 'a'\n", "model 'a': has no prototxt"),
        (HEAD + "[[model]]\nname = 3\nprototxt = 'b.prototxt'\n", "model 3, name: expected a string, found 3"),
        (HEAD + MODEL + MODEL, "model 'a': its folder, a, is that of model 'a'; rename it"),
        (HEAD + MODEL + MODEL.replace('"a"', '"A"'), "model 'A': its folder, A, is that of model 'a'; rename it"),
        (HEAD + MODEL.replace('"a"', '"index.html"'), "model 'index.html': its folder, index.html, is that of the zoo"),
        (HEAD + MODEL.replace('"a"', '"Index-1-of-3.jsonl"'), "model 'Index-1-of-3.jsonl': its folder, Index-1-of-3.jsonl, is that of the zoo"),
        (HEAD + MODEL + "limits.seconds = 0\n", "model 'a', limits, seconds: expected a number above 0, found 0"),
        (HEAD + MODEL + "limits.gigabytes = 1e300\n", "model 'a', limits, gigabytes: expected a number from 0 on and at most 1e+15"),
        (HEAD + MODEL + f"expect.verify = 1{400 * '0'}\n", "model 'a', expect, verify: expected a number from 0 on and at most 1e+15"),
        (HEAD + MODEL.replace("a.proto", "*.proto"), "model 'a': '*.prototxt' finds no file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(manifest, text, says):
    assert problem(manifest(text)).startswith(says)


def test_a_url_with_stars_that_its_server_refuses_is_a_problem(manifest, monkeypatch):
    memory = pytest.importorskip("fsspec.implementations.memory")

    def refuse(*_, **__):
        raise RuntimeError("403,\nForbidden")  # as good as any: each library has its own errors

    monkeypatch.setattr(memory.MemoryFileSystem, "glob", refuse)
    for place, says in (("memory://nets", "cannot be read: 403, Forbidden"), ("none://x", "fsspec does not open")):
        said = problem(manifest(HEAD + f'[[model]]\nprototxt = "{place}/*.prototxt"\n'))
        assert said.startswith(f"model 1: {place}/*.prototxt: ") and says in said


def test_all_problems_are_said_at_once(manifest):
    assert len(manifest(HEAD + MODEL + "a = 1\nb = 2\nexpect.c = 3\n").problems) == 3


@pytest.mark.parametrize("text", ["a = ", "\0", "a = 1\na = 2"])
def test_what_is_no_toml_is_a_read_error(manifest, text):
    with pytest.raises(ReadError, match="is not TOML"):
        manifest(text)


def test_a_manifest_that_is_not_there_is_a_read_error(tmp_path, converter):
    with pytest.raises(ReadError, match="cannot be read: No such file"):
        read_manifest(tmp_path / "none.toml", converter)


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.lists(names, min_size=1, max_size=5, unique_by=str.lower))
def test_names_are_data(manifest, names):
    """What `init` writes is read back: every name, and files of every name that has no star."""
    trios = [(name, f"x/{name.replace('*', '')}.prototxt", f"x/{name}.caffemodel".replace("*", "")) for name in names]
    found = manifest(manifest_text((name.replace("*", "+"), *files) for name, *files in trios))
    assert [model.prototxt for model in found.models] == [trio[1] for trio in trios]
    assert [model.caffemodel for model in found.models] == [trio[2] for trio in trios]
    assert [model.name for model in found.models] == [name.replace("*", "+") for name in names]
    for model in found.models:
        assert set(model.folder) <= set(string.ascii_letters + string.digits + "._-")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
keys = st.sampled_from("name prototxt caffemodel sha256 expect limits tags licence source width solver exact x".split())


def toml(value) -> str:
    """A value as TOML writes it inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{for_toml(key)} = {toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return for_toml(value) if isinstance(value, str) else "0" if value is None else repr(value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(st.dictionaries(keys, values, max_size=6))
def test_any_values_give_models_or_problems_and_no_other_error(manifest, table):
    text = HEAD + "[[model]]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in table.items())
    found = manifest(text)
    assert found.models or found.problems
