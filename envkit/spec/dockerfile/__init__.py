"""A Dockerfile as it is written: parsed, expanded, cut into stages. Pure; image/dockerfile carries it out."""
