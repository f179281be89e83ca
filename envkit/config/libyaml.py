"""ruamel.yaml's libyaml parser, without the rest of ruamel.yaml.

The C extension needs ruamel's marks, tokens, events and error classes, but imports eight more modules for one exception
class each; they cost 20 ms at start-up (measured, Python 3.11). Here they are stand-ins while the extension is
imported, and are taken away again, so that a later `import ruamel.yaml` gets the real ones.
"""

from __future__ import annotations

import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FOR_ONE_CLASS = {
    "reader": "ReaderError", "scanner": "ScannerError", "parser": "ParserError", "composer": "ComposerError",
    "constructor": "ConstructorError", "emitter": "EmitterError", "serializer": "SerializerError",
    "representer": "RepresenterError",
}  # fmt: skip


def _import() -> Any:
    if "ruamel.yaml" in sys.modules:
        import _ruamel_yaml  # type: ignore[import-not-found]

        return _ruamel_yaml
    import ruamel

    package = ModuleType("ruamel.yaml")
    package.__path__ = [f"{directory}/yaml" for directory in ruamel.__path__]
    stand_ins = {"ruamel.yaml": package}
    sys.modules["ruamel.yaml"] = package
    try:
        from ruamel.yaml.error import MarkedYAMLError

        for module, name in _FOR_ONE_CLASS.items():
            stand_in = ModuleType(f"ruamel.yaml.{module}")
            setattr(stand_in, name, type(name, (MarkedYAMLError,), {"__module__": stand_in.__name__}))
            stand_ins[stand_in.__name__] = sys.modules[stand_in.__name__] = stand_in
        import _ruamel_yaml
    finally:
        for name in stand_ins:
            del sys.modules[name]
    return _ruamel_yaml


_module = _import()
CParser = _module.CParser
YAMLError = _module.YAMLError
AliasEvent = _module.AliasEvent
ScalarEvent = _module.ScalarEvent
SequenceStartEvent = _module.SequenceStartEvent
SequenceEndEvent = _module.SequenceEndEvent
MappingStartEvent = _module.MappingStartEvent
MappingEndEvent = _module.MappingEndEvent
DocumentStartEvent = _module.DocumentStartEvent
StreamEndEvent = _module.StreamEndEvent
