"""Runtimes behind one port (`base`). Adapters live in packages of their own and know nothing of one another."""
