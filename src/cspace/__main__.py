"""``python -m cspace``: the same as the ``cspace`` command."""

from .cli import main

if __name__ == "__main__":
    main()
