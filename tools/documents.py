#!/usr/bin/env python3
"""Write the man pages and the shell completions from the table of options.

    tools/documents.py DIRECTORY

makes, below DIRECTORY, share/man/man8/*.8 and the completions for bash, zsh and fish
where the shells look for them below a prefix such as /usr/local.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pyruntime import VERSION, options
from pyruntime.options import Option, Verb

HELP = Option((("help", "h"), options.FLAG, False, "", "show help", False))
# The values of options that have few; for others the metavar tells what they are.
CHOICES = {
    "log-format": "text json",
    "format": "table json",
    "cgroup-manager": "cgroupfs systemd disabled",
    "rootless": "true false auto",
}
FILES = ("FILE", "SOCKET")
DIRECTORIES = ("DIR",)
NO_CONTAINER_YET = ("create", "run", "plan")


def verbs() -> list[Verb]:
    """Every verb, in the order of the table."""
    return [Verb(name, entry) for name, entry in options.VERBS.items()]


def shown(known: Iterable[Option]) -> list[Option]:
    """The options that are not hidden."""
    return [option for option in known if not option.hidden]


def dashed(name: str) -> str:
    """-b or --bundle."""
    return "-" * min(len(name), 2) + name


def spellings(known: Iterable[Option]) -> list[str]:
    """Every name of the options, with dashes."""
    return [dashed(name) for option in known for name in option.names]


def brief(text: str) -> str:
    """The beginning of a help text, for a line of a list."""
    return text.partition(";")[0].partition(" (")[0]


def takes_container(verb: Verb) -> bool:
    """Whether an argument, the first or behind an action, is the id of a container."""
    return "<container-id>" in verb.synopsis and verb.name not in NO_CONTAINER_YET


def actions(verb: Verb) -> list[str]:
    """The words of which the first argument is one, such as add and remove."""
    first = verb.synopsis.partition(">")[0]
    return first.removeprefix("<").split("|") if "|" in first and first[0] == "<" else []


def takes_file(verb: Verb) -> bool:
    """Whether an argument is a file."""
    return "<file>" in verb.synopsis


# Man pages


def roff(text: str) -> str:
    """Text for troff: nothing in it is a request or an escape."""
    escaped = text.replace("\\", "\\(rs").replace("-", "\\-").replace("'", "\\(aq")
    return "\\&" + escaped if escaped.startswith(".") else escaped


def roff_options(known: Iterable[Option]) -> list[str]:
    """A tagged paragraph for each option."""
    lines = []
    for option in shown(known):
        names = [f"\\fB{roff(dashed(name))}\\fR" for name in sorted(option.names, key=len)]
        value = f" \\fI{roff(option.metavar)}\\fR" if option.metavar else ""
        lines += [".TP", ", ".join(names) + value, roff(option.help) + "."]
    return lines


def roff_head(name: str, summary: str) -> list[str]:
    """The title and the name, from which the index of man pages is made."""
    title = f'.TH {roff(name.upper())} 8 "" "pyruntime {VERSION}" "System administration"'
    return [title, ".SH NAME", f"{roff(name)} \\- {roff(summary)}", ".SH SYNOPSIS"]


def overview() -> str:
    """pyruntime(8)."""
    lines = roff_head("pyruntime", "run containers as the OCI describes them")
    lines += ["\\fBpyruntime\\fR [\\fIglobal options\\fR] \\fIcommand\\fR [\\fIoptions\\fR]"]
    lines += ["[\\fIarguments\\fR]", ".SH DESCRIPTION"]
    lines += [
        "pyruntime is a container runtime: it creates, starts, signals and deletes",
        "containers from bundles, directories with a file config.json and a root filesystem",
        "as the Open Container Initiative (OCI) describes them.",
        "Container engines use it in place of \\fBrunc\\fR(8).",
        ".SH COMMANDS",
    ]
    for verb in verbs():
        lines += [".TP", f"\\fB{verb.name}\\fR", f"{roff(verb.summary)}."]
        lines += [f"See \\fBpyruntime\\-{verb.name}\\fR(8)."]
    lines += [".SH GLOBAL OPTIONS", *roff_options(options.global_options())]
    lines += [".SH EXIT STATUS", "0 on success, 3 for an unknown command, 1 for any other error."]
    lines += ["\\fBrun\\fR ends with the status of the container\\(aqs process."]
    lines += [".SH SEE ALSO", "\\fBrunc\\fR(8), \\fBcrun\\fR(1)"]
    return "\n".join(lines) + "\n"


def page(verb: Verb) -> str:
    """pyruntime-VERB(8)."""
    lines = roff_head(f"pyruntime-{verb.name}", verb.summary)
    usage = f"\\fBpyruntime\\fR [\\fIglobal options\\fR] \\fB{verb.name}\\fR [\\fIoptions\\fR]"
    lines += [f"{usage} {roff(verb.synopsis)}".rstrip()]
    lines += [".SH DESCRIPTION", roff(verb.description)]
    lines += [".SH OPTIONS", *roff_options([*verb.options, HELP])]
    lines += [".SH SEE ALSO", "\\fBpyruntime\\fR(8)"]
    return "\n".join(lines) + "\n"


# bash


def with_value(known: Iterable[Option]) -> list[Option]:
    """The options that are followed by a value."""
    return [option for option in known if option.kind != options.FLAG]


def bash_values(known: list[Option]) -> list[str]:
    """The cases in which the word before the cursor wants a value."""
    lines = []
    for option in with_value(known):
        if option.names[0] in CHOICES:
            action = f'COMPREPLY=($(compgen -W "{CHOICES[option.names[0]]}" -- "$word"))'
        elif option.metavar in DIRECTORIES:
            action = 'compopt -o filenames; COMPREPLY=($(compgen -d -- "$word"))'
        elif option.metavar in FILES:
            action = 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$word"))'
        else:
            action = ":"
        lines += [f"            {'|'.join(spellings([option]))}) {action}; return ;;"]
    return lines


def bash_verb(verb: Verb) -> list[str]:
    """The case of one verb."""
    known = shown([*verb.options, HELP])
    lines = [f"    {verb.name})", '        case "$previous" in', *bash_values(known)]
    lines += ["        esac", f'        offered="{" ".join(spellings(known))}"']
    words = actions(verb)
    if takes_container(verb):
        words = [*words, '$(pyruntime "${root[@]}" list --quiet 2>/dev/null)']
    if words:
        lines += [f'        ids="{" ".join(words)}"']
    if takes_file(verb):
        lines += ["        files=yes"]
    return [*lines, "        ;;"]


def bash() -> str:
    """The completion for bash."""
    known = options.global_options()
    skipped = [name for name in spellings(with_value(known)) if name != "--root"]
    names = " ".join(verb.name for verb in verbs())
    lines = [
        "# bash completion for pyruntime",
        "_pyruntime() {",
        "    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}",
        "    local verb= offered= ids= files= i root=()",
        "    COMPREPLY=()",
        "    for ((i = 1; i < COMP_CWORD; i++)); do",
        '        case "${COMP_WORDS[i]}" in',
        "        --root) [[ ${COMP_WORDS[i+1]} == = ]] && ((i++))",
        '            ((++i < COMP_CWORD)) && root=(--root "${COMP_WORDS[i]}") ;;',
        f"        {'|'.join(skipped)}) [[ ${{COMP_WORDS[i+1]}} == = ]] && ((i++))",
        "            ((i++)) ;;",
        "        -*) ;;",
        "        *) verb=${COMP_WORDS[i]}; break ;;",
        "        esac",
        "    done",
        '    case "$verb" in',
        "    '')",
        '        case "$previous" in',
        *bash_values(known),
        "        esac",
        f'        offered="{" ".join(spellings(known))}"',
        f'        ids="{names}"',
        "        ;;",
    ]
    for verb in verbs():
        lines += bash_verb(verb)
    lines += [
        "    esac",
        "    if [[ $word == -* ]]; then",
        '        COMPREPLY=($(compgen -W "$offered" -- "$word"))',
        "    else",
        '        COMPREPLY=($(compgen -W "$ids" -- "$word"))',
        "        if [[ $files ]]; then",
        "            compopt -o filenames",
        '            COMPREPLY+=($(compgen -f -- "$word"))',
        "        fi",
        "    fi",
        "}",
        "complete -F _pyruntime pyruntime",
    ]
    return "\n".join(lines) + "\n"


# zsh


def zsh_quoted(text: str) -> str:
    """A word in single quotes."""
    return "'" + text.replace("'", "'\\''") + "'"


def zsh_text(text: str) -> str:
    """An explanation inside the brackets of an option, or after a colon."""
    for char in "\\[]:":
        text = text.replace(char, "\\" + char)
    return text


def zsh_value(option: Option) -> str:
    """What may follow an option: ":message:action"."""
    if option.kind == options.FLAG:
        return ""
    action = " "
    if option.names[0] in CHOICES:
        action = f"({CHOICES[option.names[0]]})"
    elif option.metavar in DIRECTORIES:
        action = "_files -/"
    elif option.metavar in FILES:
        action = "_files"
    return f":{option.metavar}:{action}"


def zsh_options(known: list[Option]) -> list[str]:
    """The arguments of _arguments for the options."""
    lines = []
    for option in shown(known):
        names = [dashed(name) for name in option.names]
        others = f"({' '.join(names)})" if len(names) > 1 else ""
        for name in names:
            # With "=", the value may follow in the same word or in the next one.
            equals = "=" if option.kind != options.FLAG and name.startswith("--") else ""
            text = f"{others}{name}{equals}[{zsh_text(brief(option.help))}]{zsh_value(option)}"
            lines.append(zsh_quoted(text))
    return lines


def zsh_call(indent: str, arguments: list[str]) -> list[str]:
    """A call of _arguments, one argument a line."""
    lines = [f"{indent}_arguments \\", *(f"{indent}    {word} \\" for word in arguments)]
    lines[-1] = lines[-1].removesuffix(" \\")
    return lines


def zsh_verb(verb: Verb) -> list[str]:
    """The case of one verb."""
    arguments = zsh_options([*verb.options, HELP])
    number = 1
    if actions(verb):
        arguments.append(f"'{number}:action:({' '.join(actions(verb))})'")
        number += 1
    if takes_container(verb):
        arguments.append(f"'{number}:container:_pyruntime_containers'")
        number += 1
    if takes_file(verb):
        arguments.append(f"'{number}:file:_files'")
    return [f"    {verb.name})", *zsh_call("        ", arguments), "        ;;"]


def zsh() -> str:
    """The completion for zsh."""
    lines = [
        "#compdef pyruntime",
        "_pyruntime_containers() {",
        "    local -a root ids",
        "    [[ -n ${pyruntime_options[--root]} ]] && root=(--root ${pyruntime_options[--root]})",
        '    ids=(${(f)"$(_call_program containers pyruntime $root list --quiet 2>/dev/null)"})',
        "    compadd -a ids",
        "}",
        "_pyruntime() {",
        "    local context state state_descr line",
        "    local -A opt_args pyruntime_options",
        "    local -a verbs",
        "    verbs=(",
        *(f"        {zsh_quoted(verb.name + ':' + zsh_text(verb.summary))}" for verb in verbs()),
        "    )",
        *zsh_call(
            "    ",
            [
                "-C",
                *zsh_options(options.global_options()),
                "'1:command:->command'",
                "'*::: :->rest'",
            ],
        ),
        '    pyruntime_options=("${(@kv)opt_args}")',
        "    [[ $state == command ]] && { _describe command verbs; return }",
        "    [[ $state == rest ]] || return",
        '    words=("$line[1]" "${(@)words}")',
        "    ((CURRENT++))",
        "    case $line[1] in",
    ]
    for verb in verbs():
        lines += zsh_verb(verb)
    return "\n".join([*lines, "    esac", "}", '_pyruntime "$@"']) + "\n"


# fish


def fish_quoted(text: str) -> str:
    """A word in single quotes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def fish_options(condition: str, known: list[Option]) -> list[str]:
    """One call of complete for each option."""
    lines = []
    for option in shown(known):
        names = [f"-{'s' if len(name) == 1 else 'l'} {name}" for name in option.names]
        value = ""
        if option.names[0] in CHOICES and option.kind != options.FLAG:
            value = f" -x -a {fish_quoted(CHOICES[option.names[0]])}"
        elif option.metavar in DIRECTORIES:
            value = " -x -a '(__fish_complete_directories)'"
        elif option.metavar in FILES:
            value = " -r -F"
        elif option.metavar:
            value = " -x"
        text = fish_quoted(brief(option.help))
        lines += [f"complete -c pyruntime -n {condition} {' '.join(names)}{value} -d {text}"]
    return lines


def fish_verb(verb: Verb) -> list[str]:
    """The verb, its options and its arguments."""
    summary = fish_quoted(verb.summary)
    condition = fish_quoted(f"contains -- {verb.name} (__pyruntime_verb)")
    lines = [
        f"complete -c pyruntime -n 'not __pyruntime_verb' -a {verb.name} -d {summary}",
        *fish_options(condition, [*verb.options, HELP]),
    ]
    if takes_container(verb):
        lines += [f"complete -c pyruntime -n {condition} -a '(__pyruntime_containers)'"]
    if actions(verb):
        lines += [f"complete -c pyruntime -n {condition} -a {fish_quoted(' '.join(actions(verb)))}"]
    if takes_file(verb):
        lines += [f"complete -c pyruntime -n {condition} -F"]
    return lines


def fish() -> str:
    """The completion for fish."""
    known = options.global_options()
    lines = [
        "# fish completion for pyruntime",
        "function __pyruntime_verb --description 'the command in the line, if there is one'",
        "    set -l words (commandline -opc)",
        "    set -e words[1]",
        "    while set -q words[1]",
        '        switch "$words[1]"',
        f"            case {' '.join(spellings(with_value(known)))}",
        "                set -e words[1]",
        "            case '-*'",
        "            case '*'",
        "                echo $words[1]",
        "                return 0",
        "        end",
        "        set -e words[1]",
        "    end",
        "    return 1",
        "end",
        "function __pyruntime_containers --description 'the ids of the containers'",
        "    set -l words (commandline -opc)",
        "    set -l root",
        "    if set -l place (contains -i -- --root $words)",
        "        set root --root $words[(math $place + 1)]",
        "    end",
        "    pyruntime $root list --quiet 2>/dev/null",
        "end",
        "complete -c pyruntime -f",
        *fish_options("'not __pyruntime_verb'", known),
    ]
    for verb in verbs():
        lines += fish_verb(verb)
    return "\n".join(lines) + "\n"


def documents() -> dict[str, Callable[[], str]]:
    """What makes each file, by its path below a prefix."""
    makers: dict[str, Callable[[], str]] = {
        "share/man/man8/pyruntime.8": overview,
        "share/bash-completion/completions/pyruntime": bash,
        "share/zsh/site-functions/_pyruntime": zsh,
        "share/fish/vendor_completions.d/pyruntime.fish": fish,
    }
    for verb in verbs():
        makers[f"share/man/man8/pyruntime-{verb.name}.8"] = partial(page, verb)
    return makers


def main(arguments: list[str]) -> int:
    """Write every document below the directory that is the argument."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 1
    for name, make in documents().items():
        path = Path(arguments[0]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
