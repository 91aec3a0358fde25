"""`python -m deepmerge` is the command `deepmerge`."""

from deepmerge.cli import main

if __name__ == "__main__":
    main(prog_name="deepmerge")
