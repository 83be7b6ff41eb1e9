"""``python -m weirgate_cli``."""

from weirgate_cli.main import main

if __name__ == "__main__":
    main()
