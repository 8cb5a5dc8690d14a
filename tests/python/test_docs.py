"""The documentation says what the code does: tables, code, signatures, errors and links."""

import ast
import inspect
import re
import runpy
import warnings
from pathlib import Path

import caster_build
import dlpack_lab as lab
import numpy as np
import pytest
import torch
from checks import codes, is_writable
from numpy.lib.stride_tricks import as_strided
from torch._subclasses.fake_tensor import FakeTensorMode

import dlpack_bridge as db

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


# ---- negotiation.md: the decision tables ---------------------------------------------------------


def capsule(*, data=tuple(range(6)), **fields):
    """A capsule of six float32 elements, with other fields where they are given."""
    elements = None if data is None else np.array(data, dtype=np.float32)
    fields = {"shape": (6,), "strides": (1,), "dtype": (2, 32, 1), **fields}
    return lab.Export(elements, **fields).capsule()


def consumed(capsule):
    db.from_dlpack(capsule)
    return capsule


NAMES = {
    "np": np,
    "torch": torch,
    "db": db,
    "as_strided": as_strided,
    "capsule": capsule,
    "consumed": consumed,
    "FakeTensorMode": FakeTensorMode,
}


def value_of(expression):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns when some of these are made
        return eval(expression, dict(NAMES))


def tables(text):
    """Every table of a page: the cells of its head, and of each row."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = [
            [cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()
        ]
        assert all(len(row) == len(rows[0]) for row in rows), block
        yield rows[0], rows[2:]


def decided_by_source():
    """(expression, {target: what the cell says}) of the tables with a column for each target."""
    found = []
    for head, rows in tables((DOCS / "negotiation.md").read_text()):
        if head[0] == "`x`":
            assert head[2:] == ["to NumPy", "to torch", "to `Array`"]
            for expression, _, *cells in rows:
                by_target = dict(zip(("numpy", "torch", "array"), cells, strict=True))
                found.append((expression.strip("`"), by_target))
    return found


def decided_by_keywords():
    """(call of plan, what the cell says) of the table of keywords."""
    (rows,) = (
        rows
        for head, rows in tables((DOCS / "negotiation.md").read_text())
        if head == ["call", "decision"]
    )
    return [(call.strip("`"), cell) for call, cell in rows]


def test_the_tables_are_found():
    assert len(decided_by_source()) >= 55
    assert len(decided_by_keywords()) >= 20


def as_the_table_says(plan, cell):
    action, _, named = cell.partition(":")
    action, _, readonly = action.partition(", ")
    assert action in ("itself", "share", "copy", "refuse") and readonly in ("", "read-only")
    assert plan.action == ("share" if action == "itself" else action), plan
    assert codes(plan.reasons if action == "copy" else plan.blockers) == set(
        re.findall(r"`(\w+)`", named)
    ), plan
    if action in ("share", "copy"):
        assert plan.readonly is (readonly == "read-only"), plan


def raises_what_is_planned(plan, call):
    with pytest.raises((db.ExchangeError, db.CudaError)) as caught:
        call()
    if isinstance(caught.value, db.ExchangeError):
        assert codes(caught.value.blockers) == codes(plan.blockers)
    return caught.value


@pytest.mark.parametrize("expression, cells", decided_by_source(), ids=str)
def test_a_source_is_decided_as_its_row_says(expression, cells):
    for to, cell in cells.items():
        plan = db.plan(value_of(expression), to)
        as_the_table_says(plan, cell)
        x = value_of(expression)
        if plan.action == "refuse":
            raises_what_is_planned(plan, lambda x=x, to=to: db.convert(x, to))
        else:
            gives_what_is_planned(plan, x, to, cell)
        if plan.action == "copy":
            would_have_to_copy(expression, to, cell)


def gives_what_is_planned(plan, x, to, cell):
    before = db.stats().copies
    result = db.convert(x, to)
    assert (result is x) == (cell == "itself")
    made_here = plan.action == "copy" and "`framework`" not in cell
    assert db.stats().copies - before == made_here
    if to != "torch" and result is not x:
        assert is_writable(result) == (not plan.readonly)


def would_have_to_copy(expression, to, cell):
    """With `copy=False` the reasons are the blockers."""
    plan = db.plan(value_of(expression), to, copy=False)
    as_the_table_says(plan, cell.replace("copy", "refuse", 1))
    x = value_of(expression)
    error = raises_what_is_planned(plan, lambda: db.convert(x, to, copy=False))
    assert isinstance(error, db.CopyRequiredError)


@pytest.mark.parametrize("call, cell", decided_by_keywords())
def test_keywords_are_decided_as_their_row_says(call, cell):
    plan = value_of(call)
    as_the_table_says(plan, cell)
    convert = call.replace("db.plan", "db.convert")
    if plan.action == "refuse":
        raises_what_is_planned(plan, lambda: value_of(convert))
    else:
        value_of(convert)


def test_the_last_row_is_a_plain_refusal_as_the_text_says():
    (*_, (call, _)) = decided_by_keywords()
    error = raises_what_is_planned(
        value_of(call), lambda: value_of(call.replace("db.plan", "db.convert"))
    )
    assert type(error) is db.ExchangeError


CODES = (
    "device dtype byte_order negative_stride layout order alignment readonly copy_requested "
    "requires_grad conj neg sparse meta fake quantized subclass lanes version capsule malformed "
    "nested functional framework stream capture driver producer"
)


def test_every_reason_code_is_explained():
    (rows,) = (
        rows for head, rows in tables((DOCS / "negotiation.md").read_text()) if head[0] == "code"
    )
    assert sorted(row[0].strip("`") for row in rows) == sorted(CODES.split())


def test_a_consumed_capsule_of_the_tables_is_consumed():
    assert lab.name(consumed(capsule())) == "used_dltensor_versioned"


# ---- code ----------------------------------------------------------------------------------------


def code_blocks(path, language="python"):
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def is_a_signature(block):
    return bool(re.fullmatch(r"[\w.]+\((?:.*, )?[/*](?:, .*)?\)\n|[\w.]+\([\w, =]*\)\n", block))


def build_extension_of(path, name, folder):
    """The blocks of C++ of a page are the one source file of the project that cpp.md shows."""
    (project,) = code_blocks(DOCS / "cpp.md", "cmake")
    folder.mkdir()
    (folder / "CMakeLists.txt").write_text(project.replace("filters", name))
    (folder / f"{name}.cpp").write_text("\n".join(code_blocks(path, "cpp")))
    caster_build.build(folder, folder)


@page
def test_the_code_of_a_page_runs_from_top_to_bottom(path, tmp_path, monkeypatch, capfd):
    if path.name == "cpp.md":
        build_extension_of(path, "filters", tmp_path / "extension")
        monkeypatch.syspath_prepend(tmp_path / "extension")
    script = tmp_path / f"{path.stem}.py"
    script.write_text("\n".join(b for b in code_blocks(path) if not is_a_signature(b)))
    runpy.run_path(str(script))
    capfd.readouterr()


def test_the_readme_example_is_about_twenty_lines():
    (example,) = code_blocks(ROOT / "README.md")
    assert 15 <= len([line for line in example.splitlines() if line.strip()]) <= 22


def test_the_extension_of_the_readme_takes_arrays_of_any_framework(tmp_path, monkeypatch):
    build_extension_of(ROOT / "README.md", "gain", tmp_path / "extension")
    monkeypatch.syspath_prepend(tmp_path / "extension")
    import gain

    for x in (np.ones((2, 3), np.float32), torch.ones(2, 3)):
        gain.scale(x, 2)
        assert x.tolist() == [[2, 2, 2], [2, 2, 2]]
    with pytest.raises(TypeError, match="dtype: expected float32, found float64"):
        gain.scale(np.ones((2, 3)), 2)


# ---- what it costs -------------------------------------------------------------------------------


def costs_measured():
    """(path, call) -> least nanoseconds, of the tables of calls in performance.md."""
    costs = {}
    for head, rows in tables((DOCS / "performance.md").read_text()):
        if head[:3] == ["path", "call", "least ns"]:
            path = None
            for row in rows:
                path = row[0] or path
                costs[path, row[1].strip("`")] = row[2]
    return costs


def copies_measured():
    """Case -> (GB/s, GB/s of the fastest peer, its name), of 64 MB on one thread."""
    text = (DOCS / "performance.md").read_text()
    (_, of_one_thread), *_ = re.findall(r"^(Threads: 1\.) .*\n\n((?:\|.*\n)+)", text, re.MULTILINE)
    ((head, rows),) = tables(of_one_thread)
    cells = {row[0]: row[head.index("64 MB")] for row in rows}
    return {case: re.split(r" / | (?=\D)", cell) for case, cell in cells.items()}


def as_measured(head, row, costs, copies):
    """The row of the README with the figures of performance.md."""
    if head[0] == "case":
        ours, peers, peer = copies[row[0]]
        return [row[0], ours, peer, peers]
    ours, peer = (re.search("`(.*)`", cell)[1] for cell in (row[1], row[3]))
    return [row[0], row[1], costs[row[0], ours], row[3], costs[row[0], peer]]


def test_the_figures_of_the_readme_are_those_of_the_last_run():
    shown = [
        (head, row)
        for head, rows in tables((ROOT / "README.md").read_text())
        if head[0] in ("path", "case")
        for row in rows
    ]
    assert len(shown) >= 9
    measured = costs_measured(), copies_measured()
    assert [row for _, row in shown] == [as_measured(head, row, *measured) for head, row in shown]


# ---- links ---------------------------------------------------------------------------------------


def anchors(path):
    """As a Markdown host makes them: lower case, without punctuation, numbered when repeated."""
    seen = {}
    for title in re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
        count = seen[anchor] = seen.get(anchor, -1) + 1
        yield f"{anchor}-{count}" if count else anchor


@page
def test_every_link_within_the_repository_leads_somewhere(path):
    prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", prose):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        assert found.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(found), target


# ---- reference.md --------------------------------------------------------------------------------


def sections():
    """Title -> text of each section of the reference, methods as "Array.__dlpack__"."""
    parts = re.split(r"^#{3,4} (.*)$", (DOCS / "reference.md").read_text(), flags=re.MULTILINE)
    texts = {}
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        for name in re.findall(r"`([\w.]+)`", title):
            texts[name] = re.split(r"^## ", text, flags=re.MULTILINE)[0]
    return texts


def errors_of(text):
    _, _, listed = text.partition("**Errors**\n")
    return re.findall(r"^\* `(\w+)`: ", listed, re.MULTILINE)


SECTIONS = sections()
PROMISED = [(name, error) for name, text in SECTIONS.items() for error in errors_of(text)]


def test_every_public_name_has_a_section():
    assert set(db.__all__) - set(SECTIONS) == set()


def test_every_section_is_about_something_public():
    for name in SECTIONS:
        owner, _, attribute = name.partition(".")
        assert owner in db.__all__, name
        assert not attribute or hasattr(getattr(db, owner), attribute), name


def exception(name):
    return getattr(db, name, None) or getattr(__import__("builtins"), name)


def test_every_function_lists_its_errors():
    """All can fail, save the two that take nothing that could be wrong."""
    functions = {n for n in db.__all__ if inspect.isroutine(getattr(db, n))} - {"stats", "collect"}
    assert functions and functions <= {name for name, _ in PROMISED}


def test_the_names_of_element_types_are_listed():
    named = re.findall(
        r"`(\w+)`", re.search(r"\* Names: (.*?)\n\*", SECTIONS["dtype"], re.DOTALL)[1]
    )
    listed = (ROOT / "dlpack_bridge" / "dtype.hpp").read_text().partition("dtype_names[")[2]
    assert named == re.findall(r'"(\w+)"', listed.partition("};")[0])


def written_signature(name):
    (block,) = re.findall(
        rf"^```python\n(?:db|array)(\.{name}\(.*\))\n```$", SECTIONS[name], re.MULTILINE
    )
    return ast.parse(f"def {block[1:]}: ...").body[0].args


@pytest.mark.parametrize("name", ["to_numpy", "to_torch", "convert", "asarray", "from_dlpack"])
def test_a_signature_is_the_one_of_the_function(name):
    written = written_signature(name)
    parameters = inspect.signature(getattr(db, name)).parameters.values()
    assert [p.name for p in parameters if p.kind == p.POSITIONAL_ONLY] == [
        argument.arg for argument in written.posonlyargs
    ]
    assert {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY} == {
        argument.arg: ast.literal_eval(default)
        for argument, default in zip(written.kwonlyargs, written.kw_defaults, strict=True)
    }


def grad():
    return torch.ones(3, requires_grad=True)


def on_device(device=(8, 0)):
    return db.asarray(capsule(device=device))


def without(module, call):
    """Runs `call` where `module` cannot be imported."""
    import isolated

    done = isolated.expect_clean(
        f"import sys; sys.modules[{module!r}] = None\n"
        "import dlpack_bridge as db\n"
        "try:\n"
        f"    {call}\n"
        "except Exception as error:\n"
        "    print(type(error).__mro__)\n"
    )
    raise ImportError(done) if "ImportError" in done else AssertionError(done)


def hard_to_tell():
    """Two layouts about whose meeting a bounded search cannot tell."""
    draw = np.random.default_rng(0).integers
    for _ in range(20):
        strides = [tuple(int(v) for v in draw(10**9, 10**10, 10)) for _ in range(2)]
        data = (1 << 40, 1 << 40 | sum(strides[1]) // 3)
        x, y = (
            export_at(address, (7,) * 10, of) for address, of in zip(data, strides, strict=True)
        )
        db.shares_memory(x, y)


def export_at(address, shape, strides):
    return lab.Export(address, shape, strides, dtype=(1, 8, 1)).capsule()


@db.compute_in("torch")
def same(x):
    return x


# One call for each promise: (section, error) -> what raises it.
RAISES = {
    **{
        (name, error): call
        for name, f in {
            "to_numpy": db.to_numpy,
            "to_torch": db.to_torch,
            "convert": lambda x, **kw: db.convert(x, "numpy", **kw),
            "asarray": db.asarray,
            "from_dlpack": db.from_dlpack,
            "convert_tree": lambda x, **kw: db.convert_tree([x], "numpy", **kw),
            "plan": lambda x, **kw: db.plan(x, "numpy", **kw),
        }.items()
        for error, call in {
            "NotAnArrayError": lambda f=f: f(3.0),
            "ValueError": lambda f=f: f(np.zeros(3), device="nowhere"),
            "TypeError": lambda f=f: f(np.zeros(3), no_such_keyword=1),
        }.items()
    },
    ("to_numpy", "ValueError"): lambda: db.to_numpy(np.zeros(3), order="F"),
    ("to_numpy", "ExchangeError"): lambda: db.to_numpy(grad()),
    ("to_torch", "ExchangeError"): lambda: db.to_torch(np.zeros(3, "M8[s]")),
    ("convert", "ExchangeError"): lambda: db.convert(grad(), "numpy"),
    ("asarray", "ExchangeError"): lambda: db.asarray(grad()),
    ("from_dlpack", "ExchangeError"): lambda: db.from_dlpack(consumed(capsule())),
    ("convert_tree", "ExchangeError"): lambda: db.convert_tree({"w": grad()}, "numpy"),
    ("compute_in", "ExchangeError"): lambda: same(np.zeros(3, "M8[s]")),
    ("to_numpy", "CopyRequiredError"): lambda: db.to_numpy(
        np.zeros(3), dtype="float32", copy=False
    ),
    ("to_torch", "CopyRequiredError"): lambda: db.to_torch(b"abc", copy=False),
    ("convert", "CopyRequiredError"): lambda: db.convert(b"abc", "torch", copy=False),
    ("asarray", "CopyRequiredError"): lambda: db.asarray(np.zeros(3, ">f8"), copy=False),
    ("from_dlpack", "CopyRequiredError"): lambda: db.from_dlpack(np.zeros(3, ">f8"), copy=False),
    ("convert_tree", "CopyRequiredError"): lambda: db.convert_tree([b"abc"], "torch", copy=False),
    ("to_numpy", "CudaError"): lambda: db.to_numpy(capsule(device=(2, 0))),
    ("to_torch", "CudaError"): lambda: db.to_torch(capsule(device=(2, 0)), device="cpu"),
    ("convert", "CudaError"): lambda: db.convert(on_device((2, 0)), "numpy"),
    ("asarray", "CudaError"): lambda: db.asarray(on_device((2, 0)), device="cpu"),
    ("from_dlpack", "CudaError"): lambda: db.from_dlpack(on_device((2, 0)), device="cpu"),
    ("convert_tree", "CudaError"): lambda: db.convert_tree([on_device((2, 0))], "numpy"),
    ("compute_in", "CudaError"): lambda: db.compute_in("numpy")(abs)(on_device((2, 0))),
    ("record_stream", "CudaError"): lambda: db.record_stream(on_device((2, 0)), 1),
    ("to_numpy", "ImportError"): lambda: without("numpy", "db.to_numpy(bytearray(3))"),
    ("to_torch", "ImportError"): lambda: without("torch", "db.to_torch(bytearray(3))"),
    ("convert", "ImportError"): lambda: without("numpy", "db.convert(bytearray(3), 'numpy')"),
    ("convert_tree", "ImportError"): lambda: without(
        "numpy", "db.convert_tree([bytearray(3)], 'numpy')"
    ),
    ("plan", "ImportError"): lambda: without("torch", "db.plan(bytearray(3), 'torch')"),
    ("compute_in", "CopyRequiredError"): lambda: db.compute_in("torch", copy=False)(abs)(b"abc"),
    ("compute_in", "ImportError"): lambda: without(
        "torch", "db.compute_in('torch')(abs)(bytearray(3))"
    ),
    ("compute_in", "TypeError"): lambda: db.compute_in("numpy", no_such_keyword=1)(abs)(np.ones(3)),
    ("compute_in", "ValueError"): lambda: db.compute_in("pandas")(abs)(np.zeros(3)),
    ("info", "NotAnArrayError"): lambda: db.info([1]),
    ("shares_memory", "NotAnArrayError"): lambda: db.shares_memory(np.zeros(3), 1),
    ("shares_memory", "ExchangeError"): lambda: db.shares_memory(
        np.zeros(3), torch.eye(3).to_sparse()
    ),
    ("shares_memory", "ValueError"): hard_to_tell,
    ("record_stream", "NotAnArrayError"): lambda: db.record_stream(1, 1),
    ("record_stream", "ValueError"): lambda: db.record_stream(np.zeros(3), 1),
    ("record_stream", "TypeError"): lambda: db.record_stream(np.zeros(3), "1"),
    ("record_stream", "ExchangeError"): lambda: db.record_stream(on_device((2, 0)), 0),
    ("Array.__dlpack__", "ExchangeError"): lambda: db.asarray(b"abc").__dlpack__(),
    ("Array.__dlpack__", "TypeError"): lambda: db.asarray(bytearray(3)).__dlpack__(stream="1"),
    ("Array.__array__", "ExchangeError"): lambda: on_device().__array__(),
    ("Array.__array__", "AttributeError"): lambda: on_device().__array_interface__,
    ("Array.__array_interface__", "ExchangeError"): lambda: np.asarray(on_device()),
    ("Array.__array_interface__", "AttributeError"): lambda: on_device().__array_interface__,
    ("Array.__cuda_array_interface__", "AttributeError"): lambda: (
        db.asarray(b"abc").__cuda_array_interface__
    ),
    ("Array.memoryview", "ExchangeError"): lambda: on_device().memoryview(),
    ("Array.tobytes", "ExchangeError"): lambda: on_device().tobytes(),
    ("dtype", "TypeError"): lambda: db.dtype(3),
    ("dtype", "ValueError"): lambda: db.dtype("float77"),
}


@pytest.mark.parametrize("name, error", PROMISED)
def test_a_listed_error_is_raised(name, error):
    with pytest.raises(exception(error)) as caught:
        RAISES[name, error]()
    if error in ("ValueError", "TypeError"):  # not one of the hub's own, which are both
        assert not isinstance(caught.value, (db.CopyRequiredError, db.NotAnArrayError))
