"""The type stubs: they pass a strict checker, and say what the module is."""

import ast
import inspect
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

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


def test_strict_type_checking_of_the_stub_itself(tmp_path):
    strict_mypy(STUB, cwd=tmp_path)


def test_the_stub_says_what_the_module_is(tmp_path):
    check("mypy.stubtest", "dlpack_bridge", cwd=tmp_path)


def test_a_user_without_numpy_and_torch_can_check_types(tmp_path):
    bare = tmp_path / "bare"
    venv.create(bare, with_pip=False)
    paths = {"base": str(bare), "platbase": str(bare)}
    package = Path(sysconfig.get_path("purelib", "venv", paths)) / "dlpack_bridge"
    package.mkdir()
    for name in ("__init__.pyi", "py.typed"):
        (package / name).write_bytes(STUB.with_name(name).read_bytes())
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


@pytest.mark.parametrize("name", functions_of_the_stub())
def test_a_signature_can_be_read_and_is_that_of_the_stub(name):
    expected = functions_of_the_stub()[name]
    signature = inspect.signature(getattr(db, name))
    by_kind = {}
    for parameter in signature.parameters.values():
        by_kind.setdefault(parameter.kind, []).append(parameter.name)
    assert by_kind.get(inspect.Parameter.POSITIONAL_ONLY, []) == [
        a.arg for a in expected.posonlyargs
    ]
    assert by_kind.get(inspect.Parameter.POSITIONAL_OR_KEYWORD, []) == [
        a.arg for a in expected.args
    ]
    assert by_kind.get(inspect.Parameter.KEYWORD_ONLY, []) == [a.arg for a in expected.kwonlyargs]
    defaults = [signature.parameters[argument.arg].default for argument in expected.kwonlyargs]
    assert defaults == [ast.literal_eval(default) for default in expected.kw_defaults]
