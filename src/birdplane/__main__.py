"""`python -m birdplane`: the command line, for processes that must use this very interpreter."""

from birdplane.cli import main

if __name__ == "__main__":
    main()
