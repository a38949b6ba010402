# The two commands of the README do the work; these targets only name them.
.PHONY: demo test test-docker-py test-vm oracles soak bench docs uninstall

demo:
	./demo

test:
	./test

oracles:
	./test --oracles

test-vm:
	./test --vm

# docker-py's own integration tests (needs a package index); options for pytest in ARGS
test-docker-py:
	./demo --setup-only
	@if [ "$$(id -u)" = 0 ]; then /opt/minidock/venv/bin/python -B tests/foreign/docker_py.py $(ARGS); \
	else sudo /opt/minidock/venv/bin/python -B tests/foreign/docker_py.py $(ARGS); fi

soak:
	./test --oracles --soak

bench:
	./demo --setup-only
	@if [ "$$(id -u)" = 0 ]; then /opt/minidock/venv/bin/python -B -m bench.run $(ARGS); \
	else sudo /opt/minidock/venv/bin/python -B -m bench.run $(ARGS); fi

docs:
	@python3 docs/build.py $(ARGS)

uninstall:
	./demo --uninstall
