"""The click application: help, usage errors, suggestions; built from options.py.

Words are read by parsing.scan, as in the hot lane, so that a command line means the
same to both. Click knows the commands and lays out the help.
"""

from __future__ import annotations

import difflib
import platform
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from pyruntime import options, parsing
from pyruntime.log import Log
from pyruntime.options import Option, Verb
from pyruntime.parsing import NotUnderstood
from pyruntime.request import Request

if TYPE_CHECKING:
    from pyruntime.options import Value

_HELP = Option((("help", "h"), options.FLAG, False, "", "show help", False))
_HELP_COMMANDS = ("help", "h")
_INTRODUCTION = (
    "Runs containers as the Open Container Initiative (OCI) describes them, from a bundle: a "
    'directory with a file "config.json" and a root filesystem. Container engines use it in '
    "place of runc.\n\n"
    "To start a container from the bundle in the current directory:\n\n"
    "\b\n    # pyruntime run <container-id>\n\n"
    "where <container-id> is a name that no other container has."
)


def resolve(words: Sequence[str]) -> Request | int:
    """The request, or the exit status after help was shown.

    Raises NotUnderstood, after showing the help on standard output, if the words are wrong.
    """
    application = _Application()
    try:
        context = application.make_context("pyruntime", list(words))
    except click.exceptions.Exit as leave:
        return int(leave.exit_code)
    with context:
        answer = application.invoke(context)
    assert isinstance(answer, Request | int)
    return answer


class _Command(click.Command):
    """A verb."""

    def __init__(self, verb: Verb) -> None:
        self.verb = verb
        super().__init__(
            verb.name,
            params=_parameters([*verb.options, _HELP], verb.synopsis),
            help=verb.description,
            short_help=verb.summary,
            options_metavar="[options]",
            add_help_option=False,
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options of the verb; the arguments stay in `ctx.args`."""
        known = [*self.verb.options, _HELP]
        try:
            values, arguments = parsing.scan(known, args, self.verb.stop_at_first_argument)
            if not values["help"] and not self.verb.takes(len(arguments)):
                raise NotUnderstood(self.verb.requirement())
        except NotUnderstood as error:
            _show_usage(ctx, error, known)
            assert ctx.parent is not None
            error.log = _log_of(ctx.parent.params)
            raise
        ctx.params = values
        ctx.args = arguments
        return arguments

    def invoke(self, ctx: click.Context) -> Request | int:
        """The request, or 0 after the help."""
        values = dict(ctx.params)
        if values.pop("help"):
            _show(self.get_help(ctx))
            return 0
        assert ctx.parent is not None
        return parsing.request_of(self.verb, values, ctx.args, ctx.parent.params)


class _Application(click.Group):
    """pyruntime itself."""

    def __init__(self) -> None:
        super().__init__(
            "pyruntime",
            params=_parameters(options.global_options()),
            help=_INTRODUCTION,
            options_metavar="[global options]",
            subcommand_metavar="<command> [options] [arguments]",
            add_help_option=False,
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the table."""
        return list(options.VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name, or None."""
        verb = options.verb(cmd_name)
        return None if verb is None else _Command(verb)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the global options; the verb and what follows it stay in `ctx.args`."""
        try:
            ctx.params, ctx.args = parsing.scan(options.global_options(), args, True)
        except NotUnderstood as error:
            _show_usage(ctx, error, options.global_options())
            raise
        return ctx.args

    def invoke(self, ctx: click.Context) -> Request | int:
        """What the verb makes of its words; 0 after the help or the version."""
        if ctx.params["version"]:
            _show(options.version(platform.python_version()).rstrip())
            return 0
        if ctx.params["help"] or not ctx.args:
            _show(self.get_help(ctx))
            return 0
        if ctx.args[0] in _HELP_COMMANDS:
            return self._help(ctx, ctx.args[1:2])
        return self._invoke_verb(ctx, ctx.args[0], ctx.args[1:])

    def _help(self, ctx: click.Context, topic: list[str]) -> Request | int:
        if topic:
            return self._invoke_verb(ctx, topic[0], ["--help"])
        _show(self.get_help(ctx))
        return 0

    def _invoke_verb(self, ctx: click.Context, name: str, words: list[str]) -> Request | int:
        command = self.get_command(ctx, name)
        if command is None:
            error = NotUnderstood(f"No help topic for '{name}'", parsing.UNKNOWN_COMMAND)
            error.log = _log_of(ctx.params)
            _suggest(name, list(options.VERBS), "")
            raise error
        with command.make_context(name, words, parent=ctx) as inner:
            answer: Request | int = command.invoke(inner)
            return answer


def _parameters(known: list[Option], synopsis: str = "") -> list[click.Parameter]:
    """The options and arguments as click shows them."""
    parameters: list[click.Parameter] = []
    if synopsis:
        parameters.append(click.Argument(["arguments"], nargs=-1, metavar=synopsis))
    for option in known:
        names = ["-" * min(len(name), 2) + name for name in option.names]
        settings: dict[str, Any] = {"help": option.help, "hidden": option.hidden}
        if option.kind == options.FLAG:
            settings["is_flag"] = True
        else:
            settings["metavar"] = option.metavar
        parameters.append(click.Option([option.key, *names], **settings))
    return parameters


def _show_usage(ctx: click.Context, error: NotUnderstood, known: list[Option]) -> None:
    """Say on standard output how the command is used, as runc does."""
    reason = str(error)
    is_flag_error = not reason.startswith("pyruntime: ")
    _show(f"Incorrect Usage: {reason}\n" if is_flag_error else "Incorrect Usage.\n")
    unknown = reason.partition("flag provided but not defined: -")[2]
    if unknown:
        _suggest(unknown, [name for option in known for name in option.names], "--")
    _show(ctx.get_help())


def _show(text: str) -> None:
    """Print text; unlike click.echo, leave the flush, and its errors, to the caller."""
    sys.stdout.write(text + "\n")


def _suggest(word: str, candidates: list[str], dashes: str) -> None:
    near = difflib.get_close_matches(word, candidates, cutoff=0.7)
    if near:
        _show(f"Did you mean {' or '.join(dashes + name for name in near)}?\n")


def _log_of(settings: dict[str, Value]) -> Log:
    """The log that the global options ask for, open."""
    log = Log(str(settings["log"]), str(settings["log_format"]), bool(settings["debug"]))
    log.open()
    return log
