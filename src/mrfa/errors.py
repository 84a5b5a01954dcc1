"""Errors that are meant for the person who gave the input."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that says what is wrong with which file or value, and what to do about it.
    The command line prints it without a traceback and exits with code 2.
    """
