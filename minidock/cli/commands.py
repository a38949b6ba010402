"""The verbs: which module serves each, and its line in the overview.

Docker's management forms (`container ls`) map onto the same verbs.
"""

from __future__ import annotations

# verb: (module, description in `minidock --help`)
VERBS: dict[str, tuple[str, str]] = {
    "attach": ("attach", "Attach local standard input, output, and error streams to a running container"),
    "create": ("create", "Create a new container"),
    "daemon": ("daemon", "Run the engine in the foreground"),
    "events": ("events", "Get real time events from the server"),
    "history": ("history", "Show the history of an image"),
    "images": ("images", "List images"),
    "import": ("transfer", "Import the contents from a tarball to create a filesystem image"),
    "info": ("info", "Display system-wide information"),
    "inspect": ("inspect", "Return low-level information on Docker objects"),
    "kill": ("lifecycle", "Kill one or more running containers"),
    "load": ("transfer", "Load an image from a tar archive or STDIN"),
    "logs": ("logs", "Fetch the logs of a container"),
    "pause": ("lifecycle", "Pause all processes within one or more containers"),
    "port": ("port", "List port mappings or a specific mapping for the container"),
    "ps": ("ps", "List containers"),
    "pull": ("pull", "Download an image from a registry"),
    "rename": ("lifecycle", "Rename a container"),
    "restart": ("lifecycle", "Restart one or more containers"),
    "rm": ("lifecycle", "Remove one or more containers"),
    "rmi": ("rmi", "Remove one or more images"),
    "run": ("run", "Create and run a new container from an image"),
    "save": ("transfer", "Save one or more images to a tar archive (streamed to STDOUT by default)"),
    "start": ("start", "Start one or more stopped containers"),
    "stop": ("lifecycle", "Stop one or more running containers"),
    "tag": ("tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    "top": ("top", "Display the running processes of a container"),
    "unpause": ("lifecycle", "Unpause all processes within one or more containers"),
    "version": ("version", "Show the version of client and engine"),
    "wait": ("lifecycle", "Block until one or more containers stop, then print their exit codes"),
}
COMMON = ("run", "ps", "pull", "images", "version", "info", "daemon")

_CONTAINER = (
    "attach",
    "create",
    "inspect",
    "kill",
    "logs",
    "pause",
    "port",
    "rename",
    "restart",
    "rm",
    "run",
    "start",
    "stop",
    "top",
    "unpause",
    "wait",
)
_IMAGE = ("history", "import", "inspect", "load", "pull", "save", "tag")

# group: {word: (module, verb)}; `inspect` of a group asks for that type only and has its own entry
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "container": {
        **{verb: (VERBS[verb][0], verb) for verb in _CONTAINER},
        "list": ("ps", "ps"),
        "ls": ("ps", "ps"),
        "ps": ("ps", "ps"),
        "remove": ("lifecycle", "rm"),
    },
    "image": {
        **{verb: (VERBS[verb][0], verb) for verb in _IMAGE},
        "list": ("images", "images"),
        "ls": ("images", "images"),
        "remove": ("rmi", "rmi"),
        "rm": ("rmi", "rmi"),
    },
    "system": {"events": ("events", "events"), "info": ("info", "info")},
}
GROUP_ABOUT = {"container": "Manage containers", "image": "Manage images", "system": "Manage the engine"}
HIDDEN = ("list", "ps", "remove")  # second names, not shown in a group's help
