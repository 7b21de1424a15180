"""Finds the code of steps and of users' modules: a file and the source files it imports.

A user's imports are looked up beside the module, beside the pipeline, then in the working
directory, as when a step runs. Libraries are not followed: the versions of those that steps use are
part of the environment's digest; if a user's module imports others, all installed ones count.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from millrace.storage.digest_cache import DigestCache

_OURS = ("millrace.components", "millrace.pipelines", "millrace")
# The result of a step may depend on these.
_LIBRARIES = (
    "ai_edge_litert",
    "ai_edge_quantizer",
    "apache_beam",
    "duckdb",
    "numpy",
    "pandas",
    "pyarrow",
    "tensorflow",
    "tensorflow_data_validation",
    "tensorflow_transform",
    "tf_keras",
    "tfx_bsl",
)

Roots = Sequence[tuple[str, Path]]  # packages and their folders; "" is a folder of any of them


class Sources:
    """Finds source files and digests them."""

    def __init__(self, digests: DigestCache, steps: Path | None = None) -> None:
        """Looks nothing up yet.

        Args:
            digests: The cache of files' digests.
            steps: The folder that the pipeline's own steps are imported from.
        """
        self._digests = digests
        self._own = tuple(filter(None, [steps, Path.cwd()]))
        self._ours = [(name, folder) for name in _OURS if (folder := _folder(name)) is not None]
        self._environment = ""
        self._steps: dict[str, str] = {}
        # Looked up once, as a server imports them once.
        self._our_modules: dict[str, Path | None] = {}
        self._our_imports: dict[tuple[str, Path], set[str]] = {}
        self._our_templates: dict[Path, list[Path]] = {}

    def of_step(self, step: str) -> str:
        """Returns the digest of a step's code: ours by its name, a user's by its module or file.

        It is computed once, since a server's imports do not change with the files.
        """
        if step not in self._steps:
            if "." in step or "/" in step:
                found = self._closure("millrace.entrypoint") | self._files_of_module(step)
            else:
                executor = f"millrace.components.{step}.executor"
                found = self._closure("millrace.entrypoint", executor)
            self._steps[step] = self._digest(found)
        return self._steps[step]

    def of_module(self, module_file: str) -> str | None:
        """Returns the digest of a module, by its file or dotted name; None if there is none."""
        found = self._files_of_module(module_file)
        return self._digest(found) if found else None

    def environment(self) -> str:
        """Returns the versions of Python and of the libraries that steps use."""
        if not self._environment:
            names = [name for name in self._installed() if _distribution(name) in _LIBRARIES]
            version = ".".join(map(str, sys.version_info[:3]))
            self._environment = " ".join([f"python-{version}", *names])
        return self._environment

    def version(self) -> str:
        """Returns the digest of Millrace's code and of the installed libraries."""
        sha = hashlib.sha256(" ".join([sys.version, *self._installed()]).encode())
        for name, folder in self._ours:
            for path in sorted(folder.rglob("*.py")):
                sha.update(
                    f"{self._digests.sha256(path)}  {name}/{path.relative_to(folder)}\n".encode()
                )
        return sha.hexdigest()

    def _installed(self) -> list[str]:
        """Returns the libraries that are installed, with their versions."""
        folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        return sorted(
            path.name.removesuffix(".dist-info")
            for folder in folders
            for path in Path(folder).glob("*.dist-info")
        )

    def _imports_others(self, found: Mapping[str, Path]) -> bool:
        """Returns whether a user's file imports a library that `environment` does not cover."""
        known = {*sys.stdlib_module_names, *_LIBRARIES, *_OURS}
        known |= {name.partition(".")[0] for name in found}
        return any(
            not level and module.partition(".")[0] not in known
            for path in found.values()
            if path.suffix == ".py" and not self._is_ours(path)
            for level, module, _ in self._digests.imports(path)
        )

    def _files_of_module(self, module_file: str) -> dict[str, Path]:
        if module_file.endswith(".py"):
            path = Path(module_file)
            user_roots = [("", folder) for folder in (path.parent, *self._own)]
            return self._follow({path.stem: path}, user_roots) if path.is_file() else {}
        found = self._find(module_file)
        if found is None:
            return {}
        is_ours = module_file.partition(".")[0] == "millrace"
        own = [("", folder) for folder in self._own]
        user_roots = [] if is_ours else [*_user_roots(module_file, found), *own]
        return self._follow({module_file: found}, user_roots)

    def _find(self, dotted: str) -> Path | None:
        if (ours := self._our_module(dotted)) is not None:
            return ours
        for folder in self._own:
            path = folder.joinpath(*dotted.split("."))
            for file in (path.with_suffix(".py"), path / "__init__.py"):
                if file.is_file():
                    return file.resolve()
        try:
            spec = importlib.util.find_spec(dotted)
        except (ImportError, ValueError, AttributeError):
            return None
        return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None

    def _closure(self, *modules: str) -> dict[str, Path]:
        starts = {name: self._our_module(name) for name in modules}
        return self._follow({name: path for name, path in starts.items() if path}, [])

    def _follow(self, starts: Mapping[str, Path], user_roots: Roots) -> dict[str, Path]:
        """Returns the source files that modules import, ours and the user's."""
        found: dict[str, Path] = {}
        waiting = dict(starts)
        while waiting:
            name, path = waiting.popitem()
            if name in found:
                continue
            found[name] = path
            for dotted in self._imported(name, path):
                target = self._our_module(dotted)
                if target is None and user_roots:
                    target = _resolve(dotted, user_roots)
                if target is not None:
                    waiting[dotted] = target
        return found | self._templates(found)

    def _imported(self, name: str, path: Path) -> Iterable[str]:
        """Returns what a module imports: names of modules, packages and what they define."""
        if (name, path) in self._our_imports:
            return self._our_imports[name, path]
        parent = name.rpartition(".")[0]
        package = name if path.name == "__init__.py" else parent
        found = {parent}  # Python imports a package before its modules
        for level, module, names in self._digests.imports(path):
            base = _absolute(package, level, module)
            found |= {base, *(f"{base}.{one}" if base else one for one in names)}
        found.discard("")
        if self._is_ours(path):
            self._our_imports[name, path] = found
        return found

    def _our_module(self, dotted: str) -> Path | None:
        """Returns the file of one of Millrace's modules."""
        if dotted not in self._our_modules:
            self._our_modules[dotted] = _resolve(dotted, self._ours)
        return self._our_modules[dotted]

    def _templates(self, modules: Mapping[str, Path]) -> dict[str, Path]:
        """Returns the templates that lie beside modules, or in `templates` beside them."""
        folders = {path.parent: name for name, path in sorted(modules.items())}
        return {
            f"{name}:{template.name}": template
            for folder, name in folders.items()
            for template in self._templates_in(folder)
        }

    def _templates_in(self, folder: Path) -> list[Path]:
        if folder in self._our_templates:
            return self._our_templates[folder]
        found = [path for pattern in ("*.j2", "templates/*.j2") for path in folder.glob(pattern)]
        if self._is_ours(folder):
            self._our_templates[folder] = found
        return found

    def _is_ours(self, path: Path) -> bool:
        """Returns whether a file or folder is in one of Millrace's packages."""
        return f"{path}/".startswith(tuple(f"{folder}/" for _, folder in self._ours))

    def _digest(self, found: Mapping[str, Path]) -> str:
        sha = hashlib.sha256()
        for name, path in sorted(found.items()):
            sha.update(f"{self._digests.sha256(path)}  {name}\n".encode())
        if self._imports_others(found):
            sha.update(" ".join(self._installed()).encode())
        return sha.hexdigest()


def _folder(package: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))).resolve() if places else None


def _user_roots(dotted: str, path: Path) -> Roots:
    """Returns the folder in which Python found a user's module or its package."""
    base = path.parents[dotted.count(".") + (path.name == "__init__.py")]
    if base.name not in ("site-packages", "dist-packages"):
        return [("", base)]
    top = base / dotted.partition(".")[0]
    return [(top.name, top)]


def _distribution(folder: str) -> str:
    return folder.partition("-")[0].lower()


def _absolute(package: str, level: int, module: str) -> str:
    if not level:
        return module
    parts = package.split(".")
    base = parts[: len(parts) - level + 1]
    return ".".join(part for part in [*base, module] if part)


def _resolve(dotted: str, roots: Roots) -> Path | None:
    """Returns the file of a module below the first root that has it."""
    for name, folder in roots:
        if name and dotted != name and not dotted.startswith(name + "."):
            continue
        rest = dotted[len(name) :].lstrip(".")
        path = folder.joinpath(*rest.split(".")) if rest else folder
        for file in (path.with_name(path.name + ".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None
