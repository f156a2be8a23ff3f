# make talk            set up if needed, then talk to the avatar in the browser (ARGS="--port 9000" and the like)
# make livekit         the same over a LiveKit server: starts one, the agent and the page
# make portrait        install the models that `mien prepare PHOTO` finds a face with (7 MB)
# make stream-demo     a stream on this machine, with an RTMP server of its own, to watch in the browser
# make test, check     all tests (ARGS="-k word" and the like); linting, formatting and types
# make constraints     write constraints.txt again from pyproject.toml (needs uv)
# make clean           remove what these made

.DEFAULT_GOAL := help
.PHONY: help talk livekit stream-demo portrait test test-setup check constraints clean

help:
	@sed -n 's/^# \(make .*\)/  \1/p' Makefile

# Stamps: setting up is done again only when the dependencies have changed.
.venv/.installed: pyproject.toml constraints.txt
	@scripts/install
	@touch $@

.venv/.installed-dev: pyproject.toml constraints.txt
	@scripts/install dev
	@touch .venv/.installed $@

# `exec`: the program takes the shell's place, so that Ctrl-C reaches it once and its exit status is the shell's.
talk: .venv/.installed
	@exec .venv/bin/mien talk $(ARGS)

portrait: .venv/.installed
	@scripts/portrait

livekit: .venv/.installed
	@exec scripts/livekit $(ARGS)

stream-demo: .venv/.installed
	@exec .venv/bin/python scripts/stream-demo $(ARGS)

test-setup: .venv/.installed-dev
	@scripts/portrait
	@scripts/chromium >/dev/null
	@scripts/livekit-server >/dev/null
	@scripts/rabbitmq >/dev/null
	@scripts/rtmp-server >/dev/null
	@scripts/redis >/dev/null

test: test-setup
	@exec scripts/test $(ARGS)

check: .venv/.installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	@scripts/check-javascript

constraints:
	@{ sed -n '/^#/p' constraints.txt; uv pip compile --quiet --universal --python-version 3.11 --all-extras --group dev \
	    --no-annotate --no-header --upgrade pyproject.toml; } > constraints.txt.new
	@mv constraints.txt.new constraints.txt

clean:
	rm -rf .venv .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
