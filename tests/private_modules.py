"""A contract for lint-imports: a module with an underscore belongs to the package that it is in."""

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class PrivateModules(Contract):
    """Whatever is in the same package, or below it, may import a private module; nothing else may."""

    type_name = "private_modules"

    package = fields.StringField()

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Look at every import of a private module."""
        broken = [
            (importer, imported)
            for imported in sorted(graph.find_descendants(str(self.package)))
            for importer in sorted(graph.find_modules_that_directly_import(imported))
            if not _is_open_to(importer, imported)
        ]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print a line for each such import."""
        for importer, imported in check.metadata["broken"]:
            output.print_error(f"{importer} imports {imported}, which is private to {_owner(imported)}.")


def _is_open_to(importer: str, imported: str) -> bool:
    owner = _owner(imported)
    return owner is None or f"{importer}.".startswith(f"{owner}.")


def _owner(module: str) -> str | None:
    """The package in which a module, or the package it is in, is private; None if it is public."""
    parts = module.split(".")
    private = [i for i, part in enumerate(parts) if part.startswith("_") and not part.startswith("__")]
    return ".".join(parts[: private[0]]) if private else None
