"""Public names: the same for users, for tab completion and for type checkers."""

import ast
import functools
import importlib
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from mypy import api

import clusterkit
from clusterkit.classifiers import LabelError, Prediction
from clusterkit.datasets.results import Result, TableResult
from clusterkit.errors import ClusterkitWarning

PACKAGE = Path(clusterkit.__file__).parent
STUBS = sorted(PACKAGE.rglob("__init__.pyi"))


def package_of(stub: Path) -> str:
    return ".".join(stub.parent.relative_to(PACKAGE.parent).parts)


def names_of(stub: Path) -> list[str]:
    imports = (
        node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom)
    )
    return [alias.name for node in imports for alias in node.names]


@pytest.mark.parametrize("stub", STUBS, ids=package_of)
def test_every_public_name_is_there_and_completes(stub: Path) -> None:
    package = importlib.import_module(package_of(stub))
    names = names_of(stub)
    assert names
    assert set(names) <= set(dir(package))
    # A module of the same name would hide the function, depending on what was imported before.
    modules = {file.stem for file in stub.parent.glob("*.py")}
    modules |= {folder.name for folder in stub.parent.iterdir() if folder.is_dir()}
    assert not modules.intersection(names)
    for name in names:
        assert getattr(package, name) is not None


def test_results_have_the_same_methods() -> None:
    found = set()
    for stub in STUBS:
        package = importlib.import_module(package_of(stub))
        for value in (getattr(package, name) for name in names_of(stub)):
            if inspect.isclass(value) and hasattr(value, "to_dict"):
                found.add(value)
                text = inspect.signature(value.to_text, eval_str=True)
                assert str(text) == "(self) -> str", value
                assert issubclass(value, Result) or value in (Prediction, LabelError)
                if hasattr(value, "to_csv"):
                    assert issubclass(value, TableResult)
                    signature = inspect.signature(value.to_csv, eval_str=True)
                    assert list(signature.parameters) == ["self", "path", "overwrite"], value
                    assert signature.parameters["overwrite"].default is False, value
                    assert signature.return_annotation is Path, value
    assert len(found) >= 15


def test_every_warning_has_a_category_of_clusterkit() -> None:
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
                name = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
                category = getattr(importlib.import_module(name), ast.unparse(node.args[1]))
                assert issubclass(category, ClusterkitWarning), f"{file}:{node.lineno}"


def test_help_shows_types_as_they_are_written() -> None:
    """ArrayLike alone takes 500 characters if it is written out."""
    for stub in STUBS:
        package = importlib.import_module(package_of(stub))
        for value in (getattr(package, name) for name in names_of(stub)):
            names = vars(value) if inspect.isclass(value) else ()
            for call in (value, *(getattr(value, name) for name in names)):
                is_ours = (getattr(call, "__module__", None) or "").startswith("clusterkit")
                if is_ours and (inspect.isfunction(call) or inspect.ismethod(call)):
                    text = str(inspect.signature(call))
                    assert "numpy." not in text, call
                    assert "pathlib." not in text, call


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        clusterkit.nothing  # noqa: B018


# Objects of Keras, scikit-learn and pandas, which have no types, stay Any, and so does what select
# selects from Any: it returns what it is given.
UNTYPED = {"model_", "build_network", "build_autoencoder", "select", "to_frame"}
# scikit-learn adds these to an estimator.
ADDED = re.compile("set_.*_request")


def arguments(call: Any) -> str:
    """Return arguments, all of type Any, for the required parameters of a function."""
    required = [
        one
        for one in inspect.signature(call).parameters.values()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    by_name = (one.kind == one.KEYWORD_ONLY for one in required)
    named = zip(required, by_name, strict=True)
    return ", ".join(f"{one.name}=any_" if is_named else "any_" for one, is_named in named)


def assigned(cls: type) -> set[str]:
    """Return the public attributes that the methods of a class assign."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and ast.unparse(node.value) == "self"
        and not node.attr.startswith("_")
    }


def attributes(cls: type) -> dict[str, str]:
    """Return the public attributes of a class, and those of our base classes, as expressions."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith("clusterkit"):
            continue
        names = {*vars(base), *inspect.get_annotations(base), *assigned(base)}
        for name in sorted(n for n in names if not n.startswith("_") and not ADDED.fullmatch(n)):
            value = getattr(cls, name, None)
            is_call = inspect.ismethod(value) or inspect.isfunction(value)
            if inspect.ismethod(value):
                found[name] = f"{name}({arguments(value)})"
            elif is_call:
                found[name] = f"{name}({arguments(functools.partial(value, None))})"
            else:
                found[name] = name
    return found


def uses(path: str) -> list[str]:
    """Return expressions that use a public name: its value, calls, and all attributes."""
    package, _, name = path.rpartition(".")
    value = getattr(importlib.import_module(package), name)
    if inspect.isfunction(value):
        return [f"{path}({arguments(value)})"]
    if not inspect.isclass(value) or issubclass(value, Warning):
        return []
    is_concrete = not inspect.isabstract(value) and not getattr(value, "_is_protocol", False)
    made = [f"{path}({arguments(value)})"] if is_concrete else []
    return made + [f"cast({path!r}, any_).{use}" for use in attributes(value).values()]


def first_of_each(paths: list[str]) -> list[str]:
    """Leave out further paths to the same object."""
    first: dict[int, str] = {}
    for path in paths:
        package, _, name = path.rpartition(".")
        first.setdefault(id(getattr(importlib.import_module(package), name)), path)
    return list(first.values())


def check_types(program: Path, text: str) -> str:
    """Return what mypy says of a program that uses the package."""
    program.write_text(text)
    configuration = PACKAGE.parent / "pyproject.toml"
    # The cache of the check of the whole package, if there is one, saves most of the time.
    cache = PACKAGE.parent / ".mypy_cache"
    if not cache.is_dir():
        cache = program.parent / "cache"
    options = ["--config-file", str(configuration)] if configuration.exists() else []
    return api.run([*options, "--cache-dir", str(cache), str(program)])[0]


def test_type_checkers_know_all_that_is_public_and_refuse_the_rest(tmp_path: Path) -> None:
    paths = [f"{package_of(stub)}.{name}" for stub in STUBS for name in names_of(stub)]
    lines = ["from typing import Any, cast"]
    lines += [f"import {package_of(stub)}" for stub in STUBS]
    lines += ["any_: Any = None"]
    lines += [f"reveal_type({path})" for path in paths]
    lines += dict.fromkeys(
        f"reveal_type({use})" for path in first_of_each(paths) for use in uses(path)
    )
    lines += [f"{package_of(stub)}.no_such_name" for stub in STUBS]
    output = check_types(tmp_path / "use.py", "\n".join(lines) + "\n")
    said = [line.split(":", 3) for line in output.splitlines() if line.count(":") >= 3]
    revealed = {
        lines[int(number) - 1]: text.partition('"')[2].rstrip('"')
        for _, number, kind, text in said
        if "Revealed type is" in text
    }
    assert len(revealed) == sum(line.startswith("reveal_type") for line in lines)
    unknown = [use for use, type_ in revealed.items() if type_ == "Any"]
    assert {use.rpartition(".")[2].rstrip(")").partition("(")[0] for use in unknown} <= UNTYPED
    errors = [line for line in output.splitlines() if ": error: " in line]
    assert len(errors) == len(STUBS)
    assert all("no_such_name" in error for error in errors)


RESULTS = """
from pathlib import Path
from typing import assert_type
import clusterkit as ck
from clusterkit.classifiers import ClassifierTraining, NetworkComparison, Predictions
from clusterkit.clustering import Evaluation, Levels
from clusterkit.elbow import ElbowCurve
from clusterkit.extractors import Extractor
from clusterkit.plots import ElbowDisplay
from clusterkit.similarity import SimilarImages
from clusterkit.space_comparison import SpaceComparison

emb = assert_type(ck.embed("wild/", ck.create_extractor("xception")), ck.Embeddings)
curve = assert_type(ck.elbow_curve(emb, k=range(2, 21), random_state=0), ElbowCurve)
assert_type(curve.k, int | None)
assert_type(ck.find_levels(emb), Levels)
found = assert_type(ck.cluster(emb, n_clusters=curve.k or 5), ck.Clustering)
assert_type(found.n_clusters, int)
assert_type(found.to_csv("clusters.csv", overwrite=True), Path)
assert_type(ck.evaluate(["cat", "dog"], found.labels), Evaluation)
assert_type(ck.find_similar("fox.jpg", emb), SimilarImages)
assert_type(ck.compare_spaces({"a": emb}), SpaceComparison)
assert_type(ck.select(emb, only="2019/"), ck.Embeddings)
assert_type(ElbowDisplay.from_curve(curve), ElbowDisplay)
training = assert_type(
    ck.train_classifier("cats/", "c.keras", ck.Classifier()), ClassifierTraining
)
assert_type(ck.classify(["a.png"], training.classifier), Predictions)
assert_type(ck.compare_networks("cats/", ["cnn"]), NetworkComparison)
emb.paths = []
ck.cluster(emb, k=5)
found.k
ck.evaluate([1], [2]).acc
"""


def test_results_have_types_and_wrong_uses_are_refused(tmp_path: Path) -> None:
    output = check_types(tmp_path / "results.py", RESULTS)
    errors = [line for line in output.splitlines() if ": error: " in line]
    first = RESULTS.splitlines().index("emb.paths = []") + 1
    assert [int(error.split(":")[1]) - first for error in errors] == [0, 1, 2, 3]
