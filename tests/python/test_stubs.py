"""The type stubs: they pass a strict checker, and say what the module is."""

import ast
import inspect
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

import dlpack_bridge as db

ROOT = Path(__file__).resolve().parents[2]
TYPING = Path(__file__).parent / "typing"
STUB = Path(db.__file__).with_name("__init__.pyi")


def check(*arguments, cwd):
    """Runs one of mypy's tools away from the root, whose C++ folder looks like the package."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def strict_mypy(*arguments, cwd):
    cache = f"--cache-dir={ROOT / 'build' / 'mypy'}"
    check("mypy", "--strict", "--config-file=", cache, *map(str, arguments), cwd=cwd)


def test_strict_type_checking_of_every_use(tmp_path):
    """Also the mistakes: there each ignored error must be one."""
    files = sorted(TYPING.glob("*.py"))
    assert files
    strict_mypy(*files, cwd=tmp_path)


def copy_stub(package):
    package.mkdir()
    for name in ("__init__.pyi", "py.typed"):
        shutil.copy(STUB.with_name(name), package)


def test_strict_type_checking_of_the_stub_itself(tmp_path):
    """As a file of the user's: mypy keeps quiet about what is installed."""
    copy_stub(tmp_path / "dlpack_bridge")
    strict_mypy(tmp_path / "dlpack_bridge" / "__init__.pyi", cwd=tmp_path)


# Types that pybind11 makes have its metaclass; the hub makes their objects, nobody else.
MADE_BY_PYBIND11 = r"""
dlpack_bridge\.(Plan|trace)
dlpack_bridge\.Plan\.__init__
"""
# Classes within functions of the worked examples, which the package carries.
IN_A_FUNCTION = r"dlpack_bridge\.examples\..*@\d+"


def test_the_stub_says_what_the_module_is(tmp_path):
    allowed = tmp_path / "allowed.txt"
    allowed.write_text(MADE_BY_PYBIND11 + IN_A_FUNCTION)
    check("mypy.stubtest", "dlpack_bridge", f"--allowlist={allowed}", cwd=tmp_path)


def test_a_user_without_numpy_and_torch_can_check_types(tmp_path):
    bare = tmp_path / "bare"
    venv.create(bare, with_pip=False)
    (packages,) = bare.glob("lib/python*/site-packages")
    copy_stub(packages / "dlpack_bridge")
    user = tmp_path / "user.py"
    user.write_text(
        "import dlpack_bridge as db\n\n\n"
        "def first(data: bytearray) -> int:\n"
        "    array = db.asarray(data, dtype='bits')\n"
        "    db.to_torch(array).sum()\n"
        "    return array.shape[0] + db.plan(data, 'numpy').nbytes\n"
    )
    strict_mypy(f"--python-executable={bare / 'bin' / 'python'}", user, cwd=tmp_path)


def stub_body():
    return ast.parse(STUB.read_text()).body


def public_names_of_the_stub():
    (names,) = (
        ast.literal_eval(node.value)
        for node in stub_body()
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    )
    return names


def test_the_public_names_are_the_same():
    assert sorted(db.__all__) == public_names_of_the_stub()
    for name in db.__all__:
        assert hasattr(db, name), name


def functions_of_the_stub():
    """The first definition of each function that the stub says is public."""
    functions = {}
    for node in stub_body():
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            functions.setdefault(node.name, node.args)
    return functions


A = np.zeros(3)
CALLS = {
    "to_numpy": (A,),
    "to_torch": (A,),
    "convert": (A, "numpy"),
    "asarray": (A,),
    "from_dlpack": (A,),
    "plan": (A, "numpy"),
    "convert_tree": (A, "numpy"),
    "compute_in": ("numpy",),
    "info": (A,),
    "shares_memory": (A, A),
    "stats": (),
    "collect": (),
    "record_stream": None,  # nothing that is here can be recorded
}


@pytest.mark.parametrize("name", functions_of_the_stub())
def test_a_function_takes_what_its_stub_says_and_no_more(name):
    function, arguments, expected = getattr(db, name), CALLS[name], functions_of_the_stub()[name]
    keywords = {
        argument.arg: ast.literal_eval(default)
        for argument, default in zip(expected.kwonlyargs, expected.kw_defaults, strict=True)
    }
    if arguments is not None:
        assert len(arguments) == len(expected.posonlyargs)
        function(*arguments, **keywords)
    with pytest.raises(TypeError):
        function(*arguments or (A, 1), 1, 2)
    with pytest.raises(TypeError):
        function(*arguments or (A, 1), no_such_keyword=1)


@pytest.mark.parametrize("name", functions_of_the_stub())
def test_a_signature_that_can_be_read_is_that_of_the_stub(name):
    expected = functions_of_the_stub()[name]
    of_kind = {}
    for parameter in inspect.signature(getattr(db, name)).parameters.values():
        of_kind.setdefault(parameter.kind, {})[parameter.name] = parameter.default
    assert list(of_kind.get(inspect.Parameter.POSITIONAL_ONLY, [])) == [
        argument.arg for argument in expected.posonlyargs
    ]
    assert of_kind.get(inspect.Parameter.KEYWORD_ONLY, {}) == {
        argument.arg: ast.literal_eval(default)
        for argument, default in zip(expected.kwonlyargs, expected.kw_defaults, strict=True)
    }


@pytest.mark.parametrize(
    "made, signature",
    [("trace", "()"), ("device", "(x, /)"), ("dtype", "(x, /)"), ("Reason", "(code, message)")],
)
def test_the_signature_of_a_type_can_be_read(made, signature):
    assert str(inspect.signature(getattr(db, made))) == signature


# Python reads the signature of a type from its text, or from its `__init__`: which of the two depends on the
# version, down to 3.11.2 and 3.11.7.
def test_the_signature_of_a_trace_is_that_of_its_init_too():
    assert str(inspect.signature(db.trace.__init__)) == "(self, /)"
    assert str(inspect.signature(type("own", (db.trace,), {}))) == "()"


TYPES = [
    db.Array,
    db.Plan,
    db.Reason,
    db.dtype,
    db.device,
    db.trace,
    type(db.info(A)),
    type(db.stats()),
]


@pytest.mark.parametrize("made", TYPES, ids=lambda made: made.__name__)
def test_every_attribute_has_words(made):
    """So that `help()` says what it is."""
    dunders = {"__array_interface__", "__cuda_array_interface__"}
    wordless = {n for n, v in vars(made).items() if not v.__doc__ and (n[0] != "_" or n in dunders)}
    assert not wordless


def test_an_unknown_target_is_told_every_name_that_the_stub_has():
    (names,) = (
        ast.literal_eval(node.value.slice)
        for node in stub_body()
        if isinstance(node, ast.AnnAssign) and node.target.id == "_Name"
    )
    with pytest.raises(ValueError, match="unknown target") as caught:
        db.convert(A, "nowhere")
    assert [name for name in names if f'"{name}"' not in str(caught.value)] == []


def test_an_error_has_the_attributes_that_the_stub_gives_it():
    """Also one that somebody else made."""
    declared = {
        (node.name, field.target.id)
        for node in stub_body()
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error")
        for field in node.body
        if isinstance(field, ast.AnnAssign)
    }
    assert ("CudaError", "blockers") in declared
    for error, attribute in declared:
        assert hasattr(getattr(db, error)("made by hand"), attribute), (error, attribute)
