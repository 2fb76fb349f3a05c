"""`python -m photochanger` is the same as the `photochanger` command."""

from photochanger.entrypoints.cli import main

if __name__ == "__main__":
    main()
