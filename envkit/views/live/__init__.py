"""The live view: `envkit status --watch` and `envkit up` on a terminal.

`picture` and `columns` are values and decide what is shown; `feed` asks the backend; `app` and `screens` are the only
modules that import textual, and nothing but the view's own start imports them.
"""
