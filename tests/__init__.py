"""A package of its own, since a package that we depend on installs a `tests` too."""
