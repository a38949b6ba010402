"""The verbs: which module serves each, and its line in the overview.

Docker's management forms (`container ls`) map onto the same verbs.
"""

from __future__ import annotations

# verb: (module, description in `minidock --help`)
VERBS: dict[str, tuple[str, str]] = {
    "attach": ("attach", "Attach local standard input, output, and error streams to a running container"),
    "commit": ("commit", "Create a new image from a container's changes"),
    "cp": ("cp", "Copy files/folders between a container and the local filesystem"),
    "create": ("create", "Create a new container"),
    "daemon": ("daemon", "Run the engine in the foreground"),
    "diff": ("diff", "Inspect changes to files or directories on a container's filesystem"),
    "doctor": ("doctor", "Check this machine, and say how to mend what is missing"),
    "events": ("events", "Get real time events from the server"),
    "exec": ("exec", "Execute a command in a running container"),
    "explain": ("explain", "Draw a running container: processes, namespaces, layers, network"),
    "export": ("export", "Export a container's filesystem as a tar archive"),
    "history": ("history", "Show the history of an image"),
    "images": ("images", "List images"),
    "import": ("transfer", "Import the contents from a tarball to create a filesystem image"),
    "info": ("info", "Display system-wide information"),
    "inspect": ("inspect", "Return low-level information on Docker objects"),
    "kill": ("lifecycle", "Kill one or more running containers"),
    "learn": ("learn", "Learn how it works: read, predict, build, check, break"),
    "load": ("transfer", "Load an image from a tar archive or STDIN"),
    "logs": ("logs", "Fetch the logs of a container"),
    "pause": ("lifecycle", "Pause all processes within one or more containers"),
    "port": ("port", "List port mappings or a specific mapping for the container"),
    "ps": ("ps", "List containers"),
    "pull": ("pull", "Download an image from a registry (not built yet: load or import one)"),
    "rename": ("lifecycle", "Rename a container"),
    "restart": ("lifecycle", "Restart one or more containers"),
    "rm": ("lifecycle", "Remove one or more containers"),
    "rmi": ("rmi", "Remove one or more images"),
    "run": ("run", "Create and run a new container from an image"),
    "save": ("transfer", "Save one or more images to a tar archive (streamed to STDOUT by default)"),
    "start": ("start", "Start one or more stopped containers"),
    "stats": ("stats", "Display a live stream of container(s) resource usage statistics"),
    "stop": ("lifecycle", "Stop one or more running containers"),
    "tag": ("tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    "top": ("top", "Display the running processes of a container"),
    "unpause": ("lifecycle", "Unpause all processes within one or more containers"),
    "update": ("update", "Update configuration of one or more containers"),
    "version": ("version", "Show the Minidock version information"),
    "wait": ("lifecycle", "Block until one or more containers stop, then print their exit codes"),
}
COMMON = ("run", "exec", "ps", "images", "version", "info", "daemon")

_CONTAINER = (
    "attach",
    "commit",
    "cp",
    "create",
    "diff",
    "exec",
    "export",
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
    "stats",
    "stop",
    "top",
    "unpause",
    "update",
    "wait",
)
_IMAGE = ("history", "import", "inspect", "load", "pull", "save", "tag")

# group: {word: (module, verb)}; `inspect` of a group asks for that type only and has its own entry
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "container": {
        **{verb: (VERBS[verb][0], verb) for verb in _CONTAINER},
        "list": ("ps", "ps"),
        "ls": ("ps", "ps"),
        "prune": ("prune", "container prune"),
        "ps": ("ps", "ps"),
        "remove": ("lifecycle", "rm"),
    },
    "image": {
        **{verb: (VERBS[verb][0], verb) for verb in _IMAGE},
        "diff": ("image_diff", "image diff"),
        "list": ("images", "images"),
        "ls": ("images", "images"),
        "prune": ("prune", "image prune"),
        "remove": ("rmi", "rmi"),
        "rm": ("rmi", "rmi"),
    },
    "system": {
        "df": ("disk", "system df"),
        "events": ("events", "events"),
        "info": ("info", "info"),
        "prune": ("prune", "system prune"),
    },
}
GROUPS["volume"] = {
    **{word: ("volume", f"volume {word}") for word in ("create", "list", "ls", "prune", "remove", "rm")},
    "inspect": ("inspect", "volume inspect"),
}
_NETWORK = ("connect", "create", "disconnect", "list", "ls", "prune", "remove", "rm")
GROUPS["network"] = {
    **{word: ("network", f"network {word}") for word in _NETWORK},
    "inspect": ("inspect", "network inspect"),
}
GROUP_ABOUT = {"container": "Manage containers", "image": "Manage images", "system": "Manage Minidock"}
GROUP_ABOUT["volume"] = "Manage volumes"
GROUP_ABOUT["network"] = "Manage networks"
# what a group's help says of the words that are no verbs of their own
WORDS = {
    "container inspect": "Display detailed information on one or more containers",
    "container prune": "Remove all stopped containers",
    "image diff": "Show the files in which two images differ",
    "image inspect": "Display detailed information on one or more images",
    "image prune": "Remove unused images",
    "network connect": "Connect a container to a network",
    "network create": "Create a network",
    "network disconnect": "Disconnect a container from a network",
    "network inspect": "Display detailed information on one or more networks",
    "network ls": "List networks",
    "network prune": "Remove all unused networks",
    "network rm": "Remove one or more networks",
    "system df": "Show minidock disk usage",
    "system prune": "Remove unused data",
    "volume create": "Create a volume",
    "volume inspect": "Display detailed information on one or more volumes",
    "volume ls": "List volumes",
    "volume prune": "Remove unused local volumes",
    "volume rm": "Remove one or more volumes",
}
HIDDEN = ("list", "ps", "remove")  # second names, not shown in a group's help
