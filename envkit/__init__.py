"""envkit: declarative environments as code. The rooms and their order are in docs/architecture.md."""

__version__ = "0.1.0"
