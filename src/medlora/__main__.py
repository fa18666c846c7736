"""`python -m medlora`: the command line."""

from medlora.cli.main import run

if __name__ == "__main__":
    run()
