"""The order of the phases is written once and holds; loading stays light."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

from envkit.config import load


def test_the_docstring_lists_the_phases() -> None:
    documented = re.findall(r"^    (?:of .{11,13})?\s+([a-z]+)  ", load.__doc__ or "", re.MULTILINE)
    assert tuple(documented) == load.PHASES


def test_the_code_runs_them_in_this_order() -> None:
    """Each phase's call, in the order in which one document and then the project pass through them."""
    calls = {
        load._Loader.__init__: ["lookup.locate("],
        load._Loader._texts: ["parse(data"],
        load._Loader.project: ["choose("],
        load._Loader._document: [
            "_interpolator(", "self.include.document(", "extends.document(", "self.merge.documents(", "enforce(",
            "self._validate(", "self.canonical.document(",
        ],
        load._Loader.documents: ["set_defaults(", "Paths("],
        load._Loader.model: [
            "normalize(", "bind(document, DOCUMENT", "profiles.split(", "self._environment(", "Consistency(",
            "profiles.select(",
        ],
    }  # fmt: skip
    found = 0
    for function, expected in calls.items():
        source = inspect.getsource(function)
        places = [source.index(call) for call in expected]
        assert places == sorted(places), function
        found += len(places)
    assert found == len(load.PHASES)


def test_loading_imports_neither_pydantic_nor_rich_nor_ruamel(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {a: {image: i, ports: ['80:80']}}\n")
    code = (
        "import sys; from envkit.config.load import load_model; from envkit.config.options import LoadOptions;"
        "load_model(LoadOptions(sys.argv[1]));"
        "print([name for name in ('pydantic', 'rich', 'ruamel.yaml', 'jsonschema', 'requests', 'watchdog')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_ruamel_works_after_the_light_import() -> None:
    code = (
        "import envkit.config.libyaml; from ruamel.yaml import YAML;"
        "print(YAML(typ='safe').load('a: [1]'), YAML().load('b: 2')['b'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "{'a': [1]} 2"
