"""Error messages in the form `error: FILE: what is wrong`: one form for every command and cause."""

import errno
import os
import traceback
from collections.abc import Iterator

import click
from click.core import ParameterSource

from webhook.core.errors import UserError
from webhook.core.formatting import did_you_mean, failure_text, quote

_UNWRITABLE = {errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPIPE}
_PLAIN_WORDS = {"a valid integer range": "a whole number", "a valid float range": "a number"}


class InputError(click.ClickException):
    """Input that cannot be used: the lines `error: FILE:LINE: what is wrong`, and an optional hint."""


def error_lines(error: Exception) -> Iterator[str]:
    """Yield the lines that report an error which ends a command."""
    if isinstance(error, InputError | click.exceptions.NoArgsIsHelpError):
        yield error.message
    elif isinstance(error, click.UsageError):
        yield f"error: {_usage_message(error)}"
        if error.ctx:
            yield f"see '{error.ctx.command_path} --help' for usage"
    elif isinstance(error, click.ClickException | UserError):
        yield f"error: {error}"
    elif isinstance(error, OSError) and error.errno in _UNWRITABLE:
        yield f"error: cannot write the output: {failure_text(error)}"
    else:
        yield "".join(traceback.format_exception(error)).rstrip("\n")
        yield "error: this is a bug in tokenguard: please report it with the lines above"


def _usage_message(error: click.UsageError) -> str:
    """Return what is wrong with the arguments, in the form of all other messages instead of click's."""
    context = error.ctx
    match error:
        case click.NoSuchOption():
            options = [name for param in context.command.get_params(context) for name in param.opts] if context else []
            return f"no such option {quote(error.option_name)}{did_you_mean(error.option_name, options)}"
        case click.NoSuchCommand():
            group = context.command if context else None
            commands = group.list_commands(context) if context and isinstance(group, click.Group) else ()
            return f"no such command {quote(error.command_name)}{did_you_mean(error.command_name, commands)}"
        case click.MissingParameter(param=click.Parameter() as param):
            return f"missing {param.param_type_name} {_parameter(param, context)}"
        case click.BadParameter(param=click.Parameter() as param):
            return f"{_parameter(param, context)}: {_plain(error.message)}"
    return _plain(error.message)


def _parameter(param: click.Parameter, context: click.Context | None) -> str:
    """Return where a value came from: `--output`, `PATH` or an environment variable."""
    if context and context.get_parameter_source(param.name or "") is ParameterSource.ENVIRONMENT:
        return next(name for name in environment_variables(param, context) if os.environ.get(name))
    if isinstance(param, click.Argument) and context:
        return param.make_metavar(context)
    return max(param.opts, key=len)


def environment_variables(param: click.Parameter, context: click.Context) -> list[str]:
    """Return the environment variables that a parameter is read from, the first that is set."""
    names = [param.envvar] if isinstance(param.envvar, str) else [*(param.envvar or ())]
    prefix = context.auto_envvar_prefix
    if isinstance(param, click.Option) and param.allow_from_autoenv and prefix and param.name:
        names.append(f"{prefix}_{param.name.upper()}")
    return [*dict.fromkeys(names)]


def _plain(message: str) -> str:
    """Return one of click's messages without its capital and its full stop."""
    for words, plain_words in _PLAIN_WORDS.items():
        message = message.replace(words, plain_words)
    return f"{message[:1].lower()}{message[1:]}".removesuffix(".")
