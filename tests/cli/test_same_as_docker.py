"""The same verb through docker's command line and through ours, on the same engine, prints the same bytes."""

import os
import re
import shlex
import time
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Run

READING = """
ps -a --no-trunc --filter name=PREFIX
ps -a --filter name=PREFIX
ps -as --filter name=PREFIX
ps -aq --filter name=PREFIX
ps -a --filter name=PREFIX --format json
ps -a --filter name=PREFIX --format 'table {{.ID}}\\t{{.Names}} is {{upper .State}}'
ps -a --filter name=PREFIX --format '{{.Names}}\\t{{.Status}}{{if .Ports}}!{{end}}'
ps --filter name=PREFIX --filter status=running --format '{{json .Names}}'
ps --format '{{.Nope}}'
ps --format '{{.ID'
ps --filter nope=1
ps --filter nope
ps -n x
ps extra
images IMAGE
images --no-trunc --digests IMAGE
images -q IMAGE
images --format json IMAGE
images no-such-image
images --filter reference=[a
images --filter dangling=maybe
system df
system df --format json
system df --format '{{.Type}}: {{.Size}}'
image prune -f --filter label=no-such-label
image prune -af --filter label=no-such-label
image prune --filter x=y
container prune -f --filter label=no-such-label
container prune -f --filter until=x
system prune --volumes -a --filter label=a
image prune extra
save nope-nope nope-nope
history IMAGE
history --no-trunc --format json IMAGE
history nope:nope
inspect PREFIX-up
inspect PREFIX-up PREFIX-done
inspect IMAGE
inspect -f '{{.State.Status}} {{.Config.Cmd}} {{json .Config.Labels}} {{len .Mounts}}' PREFIX-done
inspect -f '{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}{{index .Config.Labels "a"}}' PREFIX-done
inspect -f '{{with .State}}{{.ExitCode}}{{end}}{{printf "%q %5d|" .Name .State.ExitCode}}' PREFIX-done
inspect -f '{{if eq .State.ExitCode 3}}three{{else}}other{{end}}{{join .Config.Cmd "+"}}' PREFIX-done
inspect -f '{{.Nope}}' PREFIX-done
inspect -f '{{.State.Nope}}' PREFIX-done
inspect -f '{{.Id' PREFIX-done
inspect --type container nope-nope
inspect --type image nope-nope
container inspect nope-nope
image inspect nope-nope
logs PREFIX-done
logs -t PREFIX-done
logs -n 1 PREFIX-done
logs --since 1h --until 0s PREFIX-done
logs nope-nope
wait PREFIX-done nope-nope PREFIX-done
stop nope-nope
kill PREFIX-done
kill nope-nope
rm nope-nope
rm -f nope-nope
start nope-nope
start -a PREFIX-done
attach PREFIX-done
attach nope-nope
port PREFIX-up
port PREFIX-up 80
rename PREFIX-up
rename nope-nope x
tag nope:nope a
tag IMAGE BAD
tag IMAGE
rmi nope:nope
import no-such-file
load -i no-such-file
save
save -o /no-such-directory/x IMAGE
pause nope-nope
events --since 1 --until x
events --since 1h --until UNTIL --filter container=PREFIX-done
events --since 1h --until UNTIL --filter container=PREFIX-done --format '{{.Action}} {{.Actor.ID}}'
version -f '{{.Server.Version}}'
info -f '{{.Driver}} {{.NCPU}}'
run -it IMAGE true
run -d -a stdout IMAGE
run --rm --name PREFIX-up IMAGE
run --name 'a b' IMAGE
run -w relative --network none --rm IMAGE
run --rm --network none IMAGE /no-such-program
run --rm --network none IMAGE /etc
run --rm --network none IMAGE sh -c 'echo out; echo err >&2; exit 7'
run --rm --network none -e A=1 IMAGE sh -c 'echo $A'
run
run --nope
container nope
nope
help nope
container ls --filter name=PREFIX
image ls IMAGE
""".strip().splitlines()
DAEMON_NAME = re.compile(rb"[Mm]inidock(?!-cli-test)")


@pytest.fixture(scope="module")
def prefix(host: str, image: str, docker28: str) -> Iterator[tuple[str, str]]:
    """Yield a name prefix of two containers, one of which has ended with 3, and the time after that."""
    from tests.cli.conftest import MINIDOCK, _run, environment

    chosen = f"same{os.urandom(4).hex()}"

    def run(*words: str) -> None:
        assert _run(MINIDOCK, *words, env=environment(host)).returncode in (0, 3)

    run("run", "-d", "--name", f"{chosen}-up", "--network", "none", image, "sleep", "1000")
    labels = ["-l", "a=<b> & c", "-l", "d=e"]
    script = "echo one; echo two; echo three >&2; sleep 0.1; exit 3"
    run("run", "--name", f"{chosen}-done", *labels, "--network", "none", image, "sh", "-c", script)
    yield chosen, f"{time.time():.9f}"
    run("rm", "-f", f"{chosen}-up", f"{chosen}-done")


@pytest.mark.parametrize("line", READING)
def test_both_print_the_same(
    line: str, prefix: tuple[str, str], image: str, minidock: Run, docker: Run
) -> None:
    names = {"PREFIX": prefix[0], "UNTIL": prefix[1], "IMAGE": image}
    for placeholder, value in names.items():
        line = line.replace(placeholder, value)
    words = shlex.split(line)
    for _ in range(3):  # "2 seconds ago" may become 3 between the two
        ours, theirs = minidock(*words), docker(*words)
        found = [plain(answer.stdout + b"\0" + answer.stderr) for answer in (ours, theirs)]
        if found[0] == found[1]:
            break
    assert found[0].decode() == found[1].decode()
    assert ours.returncode == theirs.returncode


def plain(text: bytes) -> bytes:
    """Return a text without the program's own name and without ids made anew by each run."""
    return DAEMON_NAME.sub(b"docker", text)
