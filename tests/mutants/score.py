#!/usr/bin/env python3
"""Validates a correct plugin with one mistake planted at a time, and honest plugins with none, and prints the score.

    score.py ROOT HOST WORK [NAME...]

HOST is the program ticket-host, WORK an empty directory. With classes (double, honest), only those are tried; with names only those plugins, without goals.
A mistake is caught if a case fails or crashes, at the first of which its validation is stopped; a warning, or a validation
without an end, catches nothing. What slips is tried once more.
"""
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
# What is to be caught of each class of mistakes.
GOAL = 0.95
# After so many seconds a validation counts as one without an end.
LONGEST = int(os.environ.get("MUTANTS_LONGEST", "150"))
AT_ONCE = 2
# A line of the validator's output that says how a case ended.
CASE = re.compile(r"(pass|warn|skip|FAIL|CRASH) +(\S+) ")
FLAGS = ["-std=c99", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread"]


@dataclass
class Plugin:
    """A library to validate. One without a class of mistakes is honest."""

    name: str
    settings: Path
    kind: str = ""
    library: Path | None = None
    source: Path | None = None
    defines: tuple[str, ...] = ()


@dataclass
class Outcome:
    """The cases that failed or crashed, those that warned, and why there are none, if there are none."""

    plugin: Plugin
    failed: list[str]
    warned: list[str]
    broken: str
    seconds: float

    def caught(self) -> bool:
        return bool(self.failed)


def found(cases: list[list[str]], *grades: str) -> list[str]:
    """The cases that ended so, with their messages; without `grades`, those that found a mistake."""
    return [f"{name}: {message}" for grade, name, message in cases if grade in (grades or ("FAIL", "CRASH"))]


def lines(file: str) -> list[str]:
    return [line for line in (HERE / file).read_text().splitlines() if line and not line.startswith("#")]


def mistakes() -> list[Plugin]:
    """The table's mistakes; each must be planted somewhere, and all that is planted must stand in it."""
    table = [line.split(" ", 2) for line in lines("table.txt")]
    names = [name for _, name, _ in table]
    sources = "".join((HERE / file).read_text() for file in ("redmine.c", "json.h"))
    planted = set(re.findall(r"IS\((\w+)\)", sources)) - {"name"}
    if len(set(names)) != len(names) or set(names) != planted:
        sys.exit(f"table.txt and the sources differ, or a name stands twice: {sorted(set(names) ^ planted)}")
    source, settings = HERE / "redmine.c", HERE / "redmine.toml"
    return [Plugin(name, settings, kind, source=source, defines=(f"-DMUTANT=planted_{name}",)) for kind, name, _ in table]


def honest(root: Path, host: str, work: Path) -> list[Plugin]:
    settings, redmine = root / "tests/validate", HERE / "redmine.c"
    subprocess.run([host, "plugins", "new", "desk", "--lang", "c"], cwd=work, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["make", "--silent"], cwd=work / "desk", check=True)
    return [
        Plugin("slow", HERE / "redmine.toml", source=redmine, defines=("-DSLOW_MS=200",)),
        Plugin("login", HERE / "login.toml", source=HERE / "login.c"),
        Plugin("redmine", HERE / "redmine.toml", source=redmine),
        Plugin("template", work / "desk/validate.toml", library=next((work / "desk").glob("*.so"))),
        Plugin("webhook", settings / "webhook.toml", source=root / "plugins/webhook-c/webhook.c"),
        *(
            Plugin(name, settings / f"{name}.toml", library=root / f"target/debug/libticket_plugin_{name}.so")
            for name in ("rt", "jira", "github", "gitlab")
        ),
    ]


def compiled(plugin: Plugin, root: Path, work: Path) -> Path:
    if plugin.library:
        return plugin.library
    library = work / f"{plugin.kind or 'honest'}_{plugin.name}.so"
    # A compiler may see a planted mistake; what is honest must give it nothing to say.
    warnings = ["-w"] if plugin.kind else ["-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]
    defines = plugin.defines if plugin.kind else (*plugin.defines, "-DMUTANT=planted_nothing")
    include = [f"-I{root}/plugin-api/include", "-include", str(work / "names.h")]
    command = [os.environ.get("CC", "cc"), *FLAGS, *warnings, *defines, *include, "-o", str(library), str(plugin.source)]
    subprocess.run(command, check=True)
    return library


def validated(plugin: Plugin, root: Path, host: str, work: Path) -> Outcome:
    """Validates a plugin: an honest one by all cases, one with a mistake until a case finds it."""
    library = compiled(plugin, root, work)
    command = [host, "plugins", "validate", str(library), "--settings", str(plugin.settings)]
    start = time.monotonic()
    cases: list[list[str]] = []
    with open(work / f"{library.name}.errors", "w+b") as errors:
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
        late = threading.Timer(LONGEST, os.killpg, (run.pid, signal.SIGKILL))
        late.start()
        for line in run.stdout:
            if begin := CASE.match(line):
                cases.append([*begin.groups(), ""])
            elif cases and line.startswith(" "):
                # The case's message, which every case that fails has.
                cases[-1][2] += line.strip()
                if plugin.kind and found(cases):
                    os.killpg(run.pid, signal.SIGKILL)
                    break
        run.stdout.close()
        code = run.wait()
        late.cancel()
        seconds = time.monotonic() - start
        errors.seek(0)
        said = errors.read(300).decode(errors="replace")
    broken = ""
    if not found(cases) and code != 0:
        broken = f"no end within {LONGEST} s" if seconds >= LONGEST else f"the validator ended with {code}: {said}"
    return Outcome(plugin, found(cases), found(cases, "warn"), broken, seconds)


def tried(plugin: Plugin, root: Path, host: str, work: Path) -> Outcome:
    """Validates a plugin. A mistake that slips is given a second try, since two threads meet by chance, and less on a busy machine."""
    outcome = validated(plugin, root, host, work)
    if not plugin.kind or outcome.caught() or plugin.name in known():
        return outcome
    second = validated(plugin, root, host, work)
    second.failed = ["(at the second try) " + failed for failed in second.failed]
    return second


def known() -> dict[str, str]:
    """The mistakes that no validator can find, with the reason."""
    return dict(line.split(" ", 1) for line in lines("known.txt"))


def report(outcomes: list[Outcome]) -> bool:
    """Prints the score; whether it reaches the goals."""
    reasons = known()
    reached = True
    kinds = sorted({o.plugin.kind for o in outcomes} - {""})
    for kind in kinds:
        of_kind = [o for o in outcomes if o.plugin.kind == kind]
        slipped = [o for o in of_kind if not o.caught()]
        caught = len(of_kind) - len(slipped)
        enough = caught >= GOAL * len(of_kind)
        reached &= enough
        print(f"{kind}: {caught} of {len(of_kind)} caught ({caught / len(of_kind):.0%})" + ("" if enough else ", too few"))
        for o in slipped:
            why = o.broken or ("only a warning of " + "; ".join(o.warned) if o.warned else "passed")
            print(f"  slipped: {o.plugin.name}: {why}" + (f" (known: {reasons[o.plugin.name]})" if o.plugin.name in reasons else ""))
    all_honest = [o for o in outcomes if not o.plugin.kind]
    alarms = [o for o in all_honest if o.failed or o.broken]
    print(f"honest: {len(alarms)} false alarms in {len(all_honest)}")
    for o in alarms:
        print(f"  false alarm: {o.plugin.name}: " + (o.broken or "; ".join(o.failed)))
    for o in all_honest:
        for warning in o.warned:
            print(f"  warned: {o.plugin.name}: {warning}")
    mutants = [o for o in outcomes if o.plugin.kind]
    print(f"score: {sum(o.caught() for o in mutants)} of {len(mutants)} mistakes caught, {len(alarms)} false alarms")
    return reached and not alarms


def main() -> int:
    root, host, work, *only = sys.argv[1:]
    root, work = Path(root), Path(work)
    planted = mistakes()
    (work / "names.h").write_text("enum { planted_nothing, " + ", ".join(f"planted_{plugin.name}" for plugin in planted) + " };\n")
    plugins = [p for p in [*honest(root, host, work), *planted] if not only or {p.name, p.kind or "honest"} & {*only}]
    are_classes = {*only} <= {"honest", *(p.kind for p in planted)}
    outcomes = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = [pool.submit(tried, plugin, root, host, work) for plugin in plugins]
        for run in as_completed(runs):
            outcomes.append(o := run.result())
            first = o.broken or (o.failed + ["warned: " + w for w in o.warned] + ["nothing"])[0]
            print(f"{o.plugin.kind or 'honest':7} {o.plugin.name:32} {o.seconds:5.1f} s  {first[:150]}", flush=True)
    return 0 if report(outcomes) or not are_classes else 1


if __name__ == "__main__":
    sys.exit(main())
