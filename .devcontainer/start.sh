#!/bin/sh
# Make room among the cgroups of a privileged container, once each start (root).
#
# Version 2 lets a cgroup hand controllers down only while no process is in it, and here everything starts in the root
# of the container's cgroup namespace, which is no real root.
set -eu
cd /sys/fs/cgroup
[ -e cgroup.controllers ] || exit 0
mkdir -p shell
for pid in $(cat cgroup.procs); do
    echo "$pid" >shell/cgroup.procs 2>/dev/null || true # it may have ended
done
for controller in $(cat cgroup.controllers); do
    echo "+$controller" >cgroup.subtree_control
done
