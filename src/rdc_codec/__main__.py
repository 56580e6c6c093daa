"""`python -m rdc_codec` is the command `rdc`."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="rdc")
