"""`python -m hfdistill` and `accelerate launch -m hfdistill`: the command `hfdistill`."""

from hfdistill.commands.main import main

if __name__ == "__main__":
    main()
