"""`./demo`: set minidock up, then show it at work, on an engine of its own that leaves nothing behind."""

import argparse
import os
import sys
from collections.abc import Sequence

from setup import client, environment, places, plan, play_script, privilege, stage, uninstall

NEXT = """\
Try next:
  sudo minidock run -it hostbox sh                    a shell in a container; the engine starts by itself
  sudo minidock ps -a                                 what runs, and what has ended
  sudo DOCKER_HOST=unix:///run/minidock/minidock.sock {docker} run --rm hostbox echo hi
                                                      the real docker command line on the same engine
  ./test                                              prove all of it on this machine
  ./demo --uninstall                                  take everything back
"""


def main(arguments: Sequence[str]) -> int:
    """Set up what is missing and play the demo, or take everything back."""
    parser = argparse.ArgumentParser(
        prog="./demo", description="Set minidock up, start the engine and run containers in it."
    )
    parser.add_argument("--setup-only", action="store_true", help="set up, but do not play the demo")
    parser.add_argument("--python", metavar="PATH", help="the Python that root's copy of minidock runs on")
    parser.add_argument(
        "--uninstall",
        action="store_true",
        help="take back everything that ./demo and ./test of any clone did on this machine",
    )
    parser.add_argument(
        "--data", action="store_true", help="with --uninstall: also delete images and containers"
    )
    parser.add_argument(
        "--force", action="store_true", help="with --uninstall: also when a process uses what goes"
    )
    options = parser.parse_args(arguments)
    for name in ("data", "force"):
        if getattr(options, name) and not options.uninstall:
            parser.error(f"--{name} goes with --uninstall")
    if options.uninstall:
        return uninstall.main(data=options.data, force=options.force)
    steps = plan.for_demo(environment.python_for_root(options.python))
    plan.carry_out(
        steps, "./demo", "start an engine with its own directories in /var/tmp, removed at the end"
    )
    if options.setup_only:
        print("minidock is set up: `sudo minidock run -it hostbox sh`")
        return 0
    docker = client.find()
    if docker is None:
        raise privilege.Refused("The docker client that set-up found is gone again.")
    code = privilege.run_step("play", docker)
    if code == 0:
        on_path = os.path.dirname(docker) in os.environ.get("PATH", "").split(os.pathsep)
        print(NEXT.format(docker="docker" if on_path else docker), end="")
    return code


def play(docker: str) -> int:
    """Play the demo as root and return 0 when every command ended as it should."""
    with stage.Stage(str(places.SYSTEM / "bin" / "minidock"), docker) as engine:
        print(f"An engine was started for this demo. Its files: {engine.directory}\nIts API:   {engine.host}")
        for scene in play_script.SCENES:
            print(f"\n== {scene.title}\n", flush=True)
            for line in scene.lines:
                if problem := engine.perform(line):
                    print(f"\nThe demo stopped: {problem}", file=sys.stderr)
                    print(engine.log_tail(), file=sys.stderr)
                    return 1
    print("\nThe demo's engine, its containers and its files are gone again.\n", flush=True)
    return 0
