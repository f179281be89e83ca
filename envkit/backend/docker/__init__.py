"""The Docker Engine and Podman's compatible service as a runtime: `--backend docker`, `--backend podman`.

What is applied is kept with the objects: in their labels. What an engine cannot change in an existing object (labels)
or forgets with it (that a container was there) is remembered below ENVKIT_HOME (backend/ledger.py), which
may be lost at any time without harm.
"""
