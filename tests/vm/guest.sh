#!/bin/sh
# What is done inside the machine, whatever program made the machine. As root:
#
#   guest.sh provision CHECKOUT USER    a public box, online: minidock, a docker client, the engine as a service
#   guest.sh link CHECKOUT              a box of build_box.sh, which has the libraries: run minidock from CHECKOUT
#   guest.sh units CHECKOUT             start the engine as a service, below a cgroup that systemd delegates to it
#   guest.sh tests CHECKOUT RESULTS [PYTEST ARGUMENT...]    run the tests, junit XML to RESULTS
set -eu

verb=$1 checkout=$2
shift 2

case $verb in
provision)
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -qy --no-install-recommends sudo python3-venv nftables iproute2
    # The command of the README does the rest, as the ordinary user who will run it again.
    su - "$1" -c "cd '$checkout' && ./demo --setup-only"
    client=$(su - "$1" -c 'ls "$HOME"/.cache/minidock/docker/docker 2>/dev/null' || true)
    [ -z "$client" ] || install -m 755 "$client" /usr/local/bin/docker
    printf 'export DOCKER_HOST=unix:///run/minidock/minidock.sock\n' >/etc/profile.d/minidock.sh
    getent group docker >/dev/null || groupadd --system docker
    usermod -aG docker "$1"
    exec "$0" units "$checkout"
    ;;
link)
    # Debian's own python3: /opt/venv adds libraries to it and nothing else.
    printf '%s\n' '#!/opt/venv/bin/python3 -IB' 'import sys' "sys.path.insert(0, '$checkout')" \
        'from minidock.cli.main import main' 'sys.exit(main())' >/usr/local/bin/minidock
    chmod 755 /usr/local/bin/minidock
    ;;
units)
    install -m 644 "$checkout"/systemd/minidock.service "$checkout"/systemd/minidock-containers.service \
        /etc/systemd/system/
    systemctl daemon-reload
    systemctl enable --quiet --now minidock.service
    ;;
tests)
    results=$1
    shift
    cd "$checkout"
    # The checkout is a copy that is renewed from outside: nothing is written into it.
    export PYTHONPATH="$checkout" PYTHONDONTWRITEBYTECODE=1
    # What these tests sync has to reach the disk's cache, not the disk: no power is cut here.
    mount -o remount,barrier=0 /
    trap 'mount -o remount,barrier=1 /' EXIT
    export HYPOTHESIS_STORAGE_DIRECTORY=/var/tmp/hypothesis
    # One more worker than processors: many a test waits.
    /opt/venv/bin/python3 -m pytest -p no:cacheprovider -o tmp_path_retention_policy=failed \
        -n "$(($(nproc) + 1))" --dist loadgroup --junitxml="$results" "$@"
    ;;
*)
    echo "$0: unknown verb $verb" >&2
    exit 2
    ;;
esac
