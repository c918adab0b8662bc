"""Docstrings are numpydoc: each public function has one, and its Parameters section names exactly its arguments."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType

import survey_lib

SECTION = re.compile(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n---+$|\Z)", re.MULTILINE | re.DOTALL)


def modules() -> list[ModuleType]:
    found = pkgutil.walk_packages(survey_lib.__path__, "survey_lib.")
    return [importlib.import_module(one.name) for one in found if not one.name.endswith("__main__")]


def inherited(owner: type, name: str) -> bool:
    """Whether a base of the class documents the method already."""
    return any(name in vars(base) and getattr(base, name).__doc__ for base in owner.__mro__[1:])


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Functions, classes and their methods; commands are click's objects, and their docstrings are help texts."""
    own = [(name, one) for name, one in vars(module).items() if not name.startswith("_")]
    for name, one in own:
        if getattr(one, "__module__", "") != module.__name__:
            continue
        if inspect.isfunction(one):
            yield f"{module.__name__}.{name}", one
        if inspect.isclass(one):
            yield f"{module.__name__}.{name}", one
            for method, member in vars(one).items():
                member = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                if inspect.isfunction(member) and not method.startswith("_") and not inherited(one, method):
                    yield f"{module.__name__}.{name}.{method}", member


def documented(function: object) -> list[str]:
    """Names in the Parameters section, in order; `a, b : float` are two."""
    section = SECTION.search(inspect.getdoc(function) or "")
    heads = re.findall(r"^(\S[^:\n]*?)(?: : .*)?$", section[1], re.MULTILINE) if section else []
    return [name.strip(" *") for head in heads for name in head.split(",")]


def arguments(function: object) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


def of_operation(function: object) -> bool:
    """Whether it is a rule of the coupling: the call, then the arguments of the operation, which torch documents."""
    return arguments(function)[0] == "call" and ".coupling.rules." in function.__module__


def test_names_of_a_section_are_read():
    def example(first, second, *rest):
        """Sum.

        Parameters
        ----------
        first, second : float
            Terms.
        *rest : float
            More terms: as many as there are.

        Returns
        -------
        float
        """

    assert documented(example) == ["first", "second", "rest"] == arguments(example)
    assert documented(arguments) == []


def test_everything_public_has_a_docstring():
    found = [(name, one) for module in modules() for name, one in public(module)]
    assert len(found) > 600
    assert [name for name, one in found if not one.__doc__] == []


def test_parameters_are_the_arguments():
    wrong = {
        name: (documented(one), arguments(one))
        for module in modules()
        for name, one in public(module)
        if inspect.isfunction(one) and len(arguments(one)) > 1 and not of_operation(one)
        if documented(one) != arguments(one)
    }
    assert wrong == {}
