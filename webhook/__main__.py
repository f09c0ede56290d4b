"""`python -m webhook` is `tokenguard`."""

from webhook.cli import main

if __name__ == "__main__":
    main(prog_name="tokenguard")
