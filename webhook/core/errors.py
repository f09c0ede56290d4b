"""The errors that end a command with status 2 and a message; `cli/main.py` prints them.

    UserError
    ├── ApiError       the API server refuses or cannot be reached (cluster/transport.py)
    ├── RotationError  a rotation of certificates cannot start (cluster/certificates/rotation_request.py)
    ├── StartError     the server cannot start (server/options.py)
    ├── PolicyTooLargeError  a policy is too large for CEL (export/objects.py)
    └── DemoError      the demo's server failed (demo/server.py)

Errors in the input of a command are `click.ClickException`s, made in `cli/`. Other exceptions are bugs.
"""


class UserError(Exception):
    """An error that a user can correct. The message says what is wrong, where and what to do; it has no credentials."""
