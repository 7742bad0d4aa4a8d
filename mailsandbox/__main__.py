"""`python -m mailsandbox` is `mailsandbox`."""

import sys

from mailsandbox.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
