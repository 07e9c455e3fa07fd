"""Errors that are the caller's to mend: the message says what was wrong, without a traceback."""

__all__ = ["EvaluationError", "InputError", "UnknownNameError"]


class InputError(ValueError):
    """A model, file, name or number that was given is not what was expected."""


class UnknownNameError(InputError):
    """A name that nothing is registered under; the message gives the nearest one."""


class EvaluationError(RuntimeError):
    """A method or metric failed; the message names it, and the cause is the original error."""
