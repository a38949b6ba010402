"""What the demo shows, in order: shell lines as a reader would type them, and each one's exit code."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One shell line; `code` is the exit code it must have."""

    text: str
    code: int = 0


@dataclass(frozen=True)
class Scene:
    """A few lines that show one idea."""

    title: str
    lines: tuple[Line, ...]


SCENES = (
    Scene(
        "A container is a process with its own view of the machine",
        (
            Line("minidock run --rm hostbox echo 'hello from a container'"),
            Line("minidock run --rm --hostname box hostbox sh -c 'hostname; ps; id -un'"),
            Line("minidock run --rm hostbox sh -c 'exit 7'; echo \"its exit code was $?\""),
        ),
    ),
    Scene(
        "The image it ran: files of this machine, made on first use",
        (Line("minidock images"),),
    ),
    Scene(
        "The real docker command line drives the same engine",
        (
            Line("docker version --format 'docker {{.Client.Version}}, engine API {{.Server.APIVersion}}'"),
            Line("docker run -d --name clock hostbox sh -c 'while date; do sleep 1; done'"),
            Line("docker ps"),
            Line("sleep 1; docker logs clock"),
            Line("echo 'through a pipe and back' | docker run -i --rm hostbox cat"),
            Line("docker stop -t 1 clock"),
            Line("docker rm clock"),
        ),
    ),
    Scene(
        "Limits bite: 32 MB of memory, and a program that wants 200",
        (
            Line(
                "docker run --rm --memory 32m hostbox dd if=/dev/zero of=/dev/null bs=200M count=1", code=137
            ),
            Line("minidock ps -a"),
        ),
    ),
)
