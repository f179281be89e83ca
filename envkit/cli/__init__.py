"""The command line: flags -> calls -> view. The only place with exit codes.

A command is a module-level pair in one of this package's files: `add_NAME(parser)` declares its flags, `NAME(context)`
calls the library and hands values to a view. `commands.py` lists them; only the chosen one's module is imported.
"""
