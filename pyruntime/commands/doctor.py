"""pyruntime doctor: what this host can and cannot do, and what each gap costs."""

from __future__ import annotations

import sys

from pyruntime import documents
from pyruntime import facts as host
from pyruntime.doctor import cgroup, kernel, security, tools, users
from pyruntime.doctor.finding import YES, Finding, can_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.request import Request

WIDTH = 30
MARKS = {"yes": "yes", "no": "NO", "unknown": "?"}


def execute(request: Request) -> int:
    """Print every finding. The exit status is 0 if containers can run here, otherwise 1."""
    findings = examine()
    verdict = can_run(findings)
    if request.options.get("json"):
        document = {
            "containersCanRun": verdict,
            "findings": [each.as_json() for each in findings],
        }
        sys.stdout.write(documents.dumps_indented(document) + "\n")
    else:
        sys.stdout.write("".join(line + "\n" for line in report(findings)))
    return 0 if verdict else 1


def examine() -> list[Finding]:
    """Look at everything."""
    facts = host.gather()
    groups = {
        "kernel": kernel.findings(facts),
        "cgroups": cgroup.findings(),
        "security": security.findings(facts),
        "users": users.findings(facts),
        "tools": tools.findings(),
    }
    for name, found in groups.items():
        for each in found:
            each.group = name
    return [each for found in groups.values() for each in found]


def report(findings: list[Finding]) -> list[str]:
    """The findings for people: group by group, gaps with what they cost, the verdict last."""
    lines = []
    group = ""
    for each in findings:
        if each.group != group:
            group = each.group
            lines.append(group)
        lines += _lines(each)
    gaps = sum(each.state != YES for each in findings)
    verdict = "containers can run here" if can_run(findings) else "containers cannot run here"
    return [*lines, "", f"{verdict}; {gaps} of {len(findings)} abilities are missing or unknown"]


def _lines(found: Finding) -> list[str]:
    lines = [f"  {MARKS[found.state]:<4}{found.name:<{WIDTH}}{found.detail}".rstrip()]
    if found.state != YES and found.cost:
        lines.append(f"      {found.cost}")
    return lines
