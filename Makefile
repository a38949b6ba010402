# The two commands of the README do the work; these targets only name them.
.PHONY: demo test oracles soak bench uninstall

demo:
	./demo

test:
	./test

oracles:
	./test --oracles

soak:
	./test --oracles --soak

bench:
	./demo --setup-only
	@if [ "$$(id -u)" = 0 ]; then /opt/minidock/venv/bin/python -B -m bench.run $(ARGS); \
	else sudo /opt/minidock/venv/bin/python -B -m bench.run $(ARGS); fi

uninstall:
	./demo --uninstall
