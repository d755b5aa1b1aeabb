"""The one exception that the tool raises for what the user can put right."""

import click


class OverlayError(click.ClickException):
    """A refusal in one sentence; the command line prints it and exits with code 1."""
