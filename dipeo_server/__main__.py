"""`python -m dipeo_server` is the command line."""

from dipeo_server.cli import main

if __name__ == "__main__":
    main()
