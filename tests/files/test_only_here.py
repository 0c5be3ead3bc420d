"""No other room opens, judges or changes files by path: the next one that does is caught here.

Whoever needs it goes through `dkconf.files`; whoever cannot stands in `EXCEPTIONS`, with the reason. What is given a
descriptor of a folder (`dir_fd=`) is free: nobody can lead that elsewhere.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent.parent / "dkconf"

NAMES = {
    "": "open",
    "io.": "open open_code",
    "os.": """access chmod chown fdopen fwalk getxattr lchown lchmod link listdir listxattr lstat makedirs mkdir mkfifo
        mknod open posix_spawn readlink remove removedirs removexattr rename renames replace rmdir scandir setxattr stat
        statvfs symlink truncate unlink utime walk""",
    "os.path.": "exists lexists isfile isdir islink ismount samefile getsize getmtime getatime getctime",
    "shutil.": "copy copy2 copyfile copymode copystat copytree chown move rmtree disk_usage",
    "tempfile.": """mkstemp mkdtemp TemporaryFile NamedTemporaryFile TemporaryDirectory SpooledTemporaryFile""",
    "glob.": "glob iglob",
    "fileinput.": "input FileInput",
}
FUNCTIONS = {prefix + name for prefix, names in NAMES.items() for name in names.split()}
_METHODS = """open read_text read_bytes write_text write_bytes exists is_file is_dir is_symlink is_mount is_socket
    is_fifo stat lstat mkdir chmod lchmod unlink rmdir touch rename symlink_to hardlink_to iterdir glob rglob samefile
    readlink"""
METHODS = {*_METHODS.split()}
"""Of `pathlib.Path`; its `replace` is known by its one argument, since that of `str` has two."""
BY_FOLDER = {"dir_fd", "src_dir_fd", "dst_dir_fd"}
FIXED = ("/proc", "/sys/", "/dev/null", "/run")
"""Paths written out in the source, in folders that are the kernel's or root's alone."""

OURS = ("system", "way", "self")
"""Ends of names of what is no path: a `System`, which is `files` for a host, and a `Way` of `files`."""

DESCRIPTOR = "it is given a descriptor"
TEMPLATE = "a template of our own installation"
GIT = "looks at a repository as git will, folder by folder"
PROC = "is given paths of /proc alone"
ROOTS = "looks for scripts and links in /etc/init.d and /etc/rc*.d, for words and choices only"
SURVEY = "looks for what belongs to a user, for words and choices only"
SOCKET = "a socket of the server's own: bound by its path; owner and mode are changed by files.writing"
EXCEPTIONS = {
    ("host/clock.py", "RealClock.boot_id"): PROC,
    ("host/disk.py", "RealSystem.listdir"): DESCRIPTOR,
    ("host/disk.py", "RealSystem.write"): DESCRIPTOR,
    ("host/disk.py", "_copy_xattrs"): DESCRIPTOR,
    ("host/services.py", "Services._is_unknown"): ROOTS,
    ("host/services.py", "boot_links"): ROOTS,
    ("trial/stage.py", "_run_m4"): "a file without a name, for the output of m4, in a directory of root's",
    ("host/users.py", "_owned_by"): SURVEY,
    ("host/users.py", "_paths"): SURVEY,
    ("desired/templates.py", "template_root"): TEMPLATE,
    ("desired/templates.py", "_load"): TEMPLATE,
    ("git/ask.py", "Asked._decide"): GIT,
    ("git/ask.py", "find_top"): GIT,
    ("git/trust.py", "Look._whole"): DESCRIPTOR,
    ("git/trust.py", "Look.open"): GIT,
    ("git/trust.py", "_read"): GIT,
    ("probe/peers.py", "_read"): PROC,
    ("probe/process.py", "_link"): PROC,
    ("probe/process.py", "_read"): PROC,
    ("probe/starting.py", "detach"): "starts a program, whose standard error goes to a new file of ours",
    ("repo/scaffold.py", "_filled"): TEMPLATE,
    ("server/background.py", "fill_standard_descriptors"): "opens /dev/null, and a descriptor as a stream",
    ("server/listen.py", "Listener.close"): SOCKET,
    ("server/listen.py", "_turn"): SOCKET,
    ("server/listen.py", "_bind_unix"): SOCKET,
    ("server/listen.py", "_remove_stale"): SOCKET,
}
"""(module, function) -> why it may."""


def modules() -> list[Path]:
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p.parent.name != "files" and "_templates" not in p.parts]


def name_of(node: ast.expr) -> str:
    """Return the dotted name of an expression, with the empty name for what is none."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{name_of(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def is_fixed(node: ast.AST | None) -> bool:
    """Tell whether a path is written out, at least its beginning, and needs no care."""
    if isinstance(node, ast.Call):
        return bool(node.args) and is_fixed(node.args[0])
    if isinstance(node, ast.JoinedStr):
        return bool(node.values) and is_fixed(node.values[0])
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and node.value.startswith(FIXED)
    return isinstance(node, ast.Attribute) and name_of(node) == "os.devnull"


def is_used(node: ast.AST) -> str:
    """Return what a node uses that is for `files` alone; "" if nothing."""
    if not isinstance(node, ast.Call):
        return ""
    name = name_of(node.func)
    first = node.args[0] if node.args else None
    if name in FUNCTIONS:
        return "" if is_fixed(first) or BY_FOLDER & {k.arg for k in node.keywords} else name
    if not isinstance(node.func, ast.Attribute) or name_of(node.func.value).endswith(OURS):
        return ""
    method = node.func.attr
    if method in METHODS or (method == "replace" and len(node.args) == 1 and not node.keywords):
        return "" if is_fixed(node.func.value) else f".{method}"
    return ""


def uses(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, int, str]]:
    """Yield (function that it stands in, line, name) for each use of what is for `files` alone."""
    for node in ast.iter_child_nodes(tree):
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        place = f"{inside}.{node.name}".lstrip(".") if named else inside  # type: ignore[attr-defined]
        if what := is_used(node):
            yield inside, node.lineno, what  # type: ignore[attr-defined]
        elif isinstance(node, ast.ImportFrom) and any(f"{node.module}.{a.name}" in FUNCTIONS for a in node.names):
            yield inside, node.lineno, "an import that hides where a name is from"
        elif isinstance(node, ast.Name | ast.Attribute) and name_of(node) in FUNCTIONS and not is_called(node, tree):
            yield inside, node.lineno, f"{name_of(node)}, handed on"
        yield from uses(node, place)


def is_called(node: ast.AST, parent: ast.AST) -> bool:
    return isinstance(parent, ast.Call) and parent.func is node


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_alone_opens_judges_and_changes_files(path: Path) -> None:
    """Anywhere else a path is somebody's claim, and `dkconf.files` is how to confirm it."""
    module = str(path.relative_to(PACKAGE))
    found = [
        f"dkconf/{module}:{line}: {what}: go through dkconf.files, or say in EXCEPTIONS why not"
        for place, line, what in uses(ast.parse(path.read_bytes()))
        if (module, place) not in EXCEPTIONS
    ]
    assert found == []


def test_every_exception_is_needed() -> None:
    """One that is no longer used is taken out again."""
    needed = {
        (str(path.relative_to(PACKAGE)), place)
        for path in modules()
        for place, _, _ in uses(ast.parse(path.read_bytes()))
    }
    assert set(EXCEPTIONS) - needed == set()


@pytest.mark.parametrize(
    "source,what",
    [
        ("open(path)", "open"),
        ("def f():\n    with open(path, 'rb') as file: pass", "open"),
        ("os.open(path, os.O_RDONLY)", "os.open"),
        ("os.open(name, os.O_RDONLY, dir_fd=folder)", ""),
        ("if os.path.exists(path): pass", "os.path.exists"),
        ("Path(path).read_text()", ".read_text"),
        ("path.with_suffix('.x').replace(other)", ".replace"),
        ("text.replace('a', 'b')", ""),
        ("self._system.rename(a, b)", ""),
        ("Path(f'/proc/{pid}/stat').read_text()", ""),
        ("os.path.isdir('/run/systemd/system')", ""),
        ("os.open(os.devnull, os.O_RDWR)", ""),
        ("from os import open", "an import that hides where a name is from"),
        ("map(os.stat, paths)", "os.stat, handed on"),
        ("shutil.rmtree(path)", "shutil.rmtree"),
        ("shutil.rmtree(name, dir_fd=folder)", ""),
    ],
)
def test_what_is_found(source: str, what: str) -> None:
    """The search itself: what it is to find, and what it is to leave alone."""
    assert [w for _, _, w in uses(ast.parse(source))] == ([what] if what else [])
