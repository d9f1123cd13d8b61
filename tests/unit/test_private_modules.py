"""The contract about private modules, on small graphs of imports."""

import pytest
from grimp import ImportGraph

from private_modules import PrivateModules


def kept(importer: str, imported: str) -> bool:
    graph = ImportGraph()
    for module in ("top", "top.a", "top.a.inner", "top.a._shared", "top.a._part.deep", "top.b", importer):
        graph.add_module(module)
    graph.add_import(importer=importer, imported=imported)
    return PrivateModules("private", {}, {"package": "top"}).check(graph, verbose=False).kept


@pytest.mark.parametrize("importer", ["top.a", "top.a.method", "top.a._other", "top.a.inner.deep"])
def test_a_private_module_serves_its_own_package(importer: str):
    assert kept(importer, "top.a._shared")
    assert kept(importer, "top.a._part.deep")


@pytest.mark.parametrize("importer", ["top", "top.b", "top.ab", "top.b.a"])
def test_no_other_package_imports_a_private_module(importer: str):
    assert not kept(importer, "top.a._shared")
    assert not kept(importer, "top.a._part.deep")


def test_public_modules_are_open_to_all():
    assert kept("top.b", "top.a.inner")
    assert kept("top.b", "top.__main__")
