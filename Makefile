# What one does with this checkout. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
ifndef TOGETHER
.NOTPARALLEL:
endif
.DEFAULT_GOAL := help

# Where this is set, each of the hundreds of processes that tests start compiles our modules anew.
unexport PYTHONDONTWRITEBYTECODE

# The first Python of 3.11 or newer on the PATH; `make PYTHON=python3.13 ...` takes another.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
LIGHT := .venv-light
BIN := $(VENV)/bin

# Tests run in so many processes, and steps that do not need each other so many at once: a core each, and half a gigabyte.
WORKERS := 2

# $(call together,TARGETS): make them at the same time. What each says comes when it is done.
together = +@$(MAKE) --no-print-directory --jobs=$(WORKERS) --output-sync=target TOGETHER=1 $(1)

# Programs that tests start and pip does not have: Debian's package for each.
DEBIAN_PACKAGES := chromium influxdb openssl prometheus-alertmanager

.PHONY: help
help: ## this list
	@echo "qad-dl: find the queue that went wrong, in the tick it went wrong. Targets:"
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 28
	@echo "The environment is made in $(VENV) by whichever target needs it first; PYTHON=... picks the interpreter."

# --- environments -------------------------------------------------------------------------------------------------

.PHONY: env
env: $(VENV)/.installed ## everything, in .venv (again only when pyproject.toml or constraints.txt changed)

.PHONY: env-light
env-light: $(LIGHT)/.installed ## what a collector's host has, and pytest, in .venv-light: no torch

$(VENV)/.installed: extras := all
$(LIGHT)/.installed: extras := test
$(VENV)/.installed $(LIGHT)/.installed: pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "no Python of 3.11 or newer found: install one, or name it with make PYTHON=/path/to/python" >&2; exit 2; }
	@echo "Making $(@D); the first time this takes some minutes."
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[$(extras)]'
	touch $@

.PHONY: system
system: ## the Debian packages that tests need, where root and apt-get are at hand
	@missing=""; for p in $(DEBIAN_PACKAGES); do \
		dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then echo "Debian packages are there: $(DEBIAN_PACKAGES)"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else echo "not root, or no apt-get: tests that need these will skip:$$missing"; fi

# --- the main job, shown ------------------------------------------------------------------------------------------

DEMO := checkpoints/demo
# What the light tests find where torch is not: a bundle trained where it is, its history, its scores.
TRAINED := checkpoints/trained
START := 2026-01-05
SPLIT := 2026-01-19
END := 2026-01-26

# $(call step,NAME,COMMAND): say it, run it, note the time it took.
define step
@printf '\n\033[1m%s\033[0m  %s\n' '$(1)' '$(2)'
@start=$$(date +%s); $(2); printf '%-10s %5d s\n' '$(1)' $$(($$(date +%s) - start)) >>$(DEMO)/times.txt
endef

.PHONY: demo
demo: env ## simulate, import, train, backtest, evaluate, review: a few minutes on 2 cores
	@rm -rf $(DEMO); mkdir -p $(DEMO)
	$(call step,simulate,$(BIN)/qad simulate $(DEMO)/world --queues 100 --days 21 --start $(START))
	$(call step,import,$(BIN)/qad import $(DEMO)/store --jobs $(DEMO)/world/jobs.parquet \
		--cric $(DEMO)/world/cric.json --downtimes $(DEMO)/world/downtimes.csv)
	$(call step,train,$(BIN)/python -m training.train store=$(DEMO)/store bundle=$(DEMO)/bundle \
		data.start=$(START) data.end=$(SPLIT))
	$(call step,backtest,$(BIN)/qad backtest $(DEMO)/store --bundle $(DEMO)/bundle --start $(SPLIT) --end $(END) \
		--out $(DEMO)/scores.parquet)
	$(call step,evaluate,$(BIN)/qad evaluate $(DEMO)/scores.parquet --store $(DEMO)/store \
		--incidents $(DEMO)/world/incidents.csv --downtimes $(DEMO)/world/downtimes.csv \
		--format json >$(DEMO)/evaluation.json)
	$(call step,review,$(BIN)/qad review $(DEMO)/store --bundle $(DEMO)/bundle --start $(SPLIT) --end $(END) \
		--out $(DEMO)/review.html)
	@echo; $(BIN)/qad evaluate $(DEMO)/scores.parquet --store $(DEMO)/store \
		--incidents $(DEMO)/world/incidents.csv --downtimes $(DEMO)/world/downtimes.csv
	@echo; cat $(DEMO)/times.txt
	@echo; echo "Open the page in a browser: $(DEMO)/review.html"

$(DEMO)/review.html:
	$(MAKE) demo

.PHONY: tick-demo
tick-demo: $(DEMO)/review.html system ## a day of the collector in fast time, with incidents and outages: 10 minutes
	$(BIN)/python -m tests.services.tick_day checkpoints/tick-demo --bundle $(DEMO)/bundle

.PHONY: screenshots
screenshots: $(DEMO)/review.html system ## the pictures of docs/review.md, of the demo's page
	$(BIN)/qad review $(DEMO)/store --bundle $(DEMO)/bundle --start $(SPLIT) --end $(END) --out $(DEMO)/review.html
	$(BIN)/python -m tests.services.screenshots $(DEMO)/review.html docs/review

.PHONY: signatures
signatures: env ## learn again what incidents look like (qad_dl/signatures*.json): an hour or two
	$(BIN)/python -m training.signatures

# Parts that `make quality` makes at a time.
JOBS := 1

.PHONY: quality
quality: env ## how good the alarms are: three worlds, all peers, docs/quality.md; hours (JOBS=N at a time), goes on where it was
	$(BIN)/python -m training.quality jobs=$(JOBS)

SMOKE := $(BIN)/python -m training.quality scale=smoke out=checkpoints/quality-smoke/quality.md work=checkpoints/quality-smoke
SMOKE_WORLDS := c1 c2 t1 quiet

.PHONY: quality-smoke
quality-smoke: export OMP_NUM_THREADS := 1
quality-smoke: env ## the same with tiny worlds and a few batches, into checkpoints/
	$(call together,$(SMOKE_WORLDS:%=quality-smoke-%))
	$(SMOKE)

.PHONY: $(SMOKE_WORLDS:%=quality-smoke-%)
$(SMOKE_WORLDS:%=quality-smoke-%): quality-smoke-%: env
	$(SMOKE) 'part=*/$**'

# The labelled measurements of other systems: folder in the layout of docs/interfaces.md, section 7.
DATASET := ../shared/data/asd
BENCHMARK := checkpoints/benchmark

.PHONY: benchmark
benchmark: env ## ours and every peer on labelled servers (DATASET=...), one table: 10 minutes
	$(BIN)/python -m training.benchmark dataset=$(DATASET) out=$(BENCHMARK) peers=all

# What it costs. The small form takes the bundle of `make trained`, and fails on a loss against .ci/bench.json. It runs
# alone: beside tests it would measure them.
BENCH := $(BIN)/python -m training.bench

.PHONY: bench
bench: env ## what it costs: time, memory, rates, beside others; docs/performance.md, an hour (row=N alone: make bench ROW=N)
	$(BENCH) $(if $(ROW),row=$(ROW))

.PHONY: bench-smoke bench-baseline
bench-smoke: $(TRAINED)/bundle/manifest.json ## the same in the small, held against what it was
	$(BENCH) scale=smoke again=true

bench-baseline: $(TRAINED)/bundle/manifest.json ## keep what it costs now as what it is held against, for this processor
	$(BENCH) scale=smoke again=true keep=true attempts=5

# --- checks -------------------------------------------------------------------------------------------------------

.PHONY: trained
trained: env
	@rm -rf $(TRAINED)
	$(BIN)/qad simulate $(TRAINED) --queues 8 --days 8 --start $(START)
	$(BIN)/qad import $(TRAINED)/store --jobs $(TRAINED)/jobs.parquet --cric $(TRAINED)/cric.json
	$(BIN)/python -m training.train store=$(TRAINED)/store bundle=$(TRAINED)/bundle data.end=2026-01-12 trainer=smoke
	$(BIN)/qad backtest $(TRAINED)/store --bundle $(TRAINED)/bundle --start 2026-01-12 --end 2026-01-12T06:00 \
		--out $(TRAINED)/scores.parquet

$(TRAINED)/bundle/manifest.json:
	$(MAKE) trained

# A light test that passed where torch is not shows nothing new where it is, with the same releases of the same packages:
# only those that were skipped there, and those marked `everywhere`, run again. `.venv/bin/python -m pytest` runs all.
PASSED := checkpoints/passed-light.json
PYTEST_TOGETHER := -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=10

.PHONY: test
test: export QAD_TEST_BUNDLE := $(TRAINED)
test: export OMP_NUM_THREADS := 1
test: ## lint, the light tests without torch, then every other test, then what it costs
	@echo 'Making what tests need: environments, programs, a trained bundle; and lint. What each says comes when it is done.'
	$(call together,lint trained env-light system)
	@$(MAKE) --no-print-directory test-light
	$(BIN)/python -m pytest $(PYTEST_TOGETHER) --leave-out-passed=$(PASSED) -m 'not alone'
	$(BIN)/python -m pytest tests/services -m alone
	$(BENCH) scale=smoke again=true

.PHONY: test-light
test-light: export OMP_NUM_THREADS := 1
test-light: env-light ## the light tests, where torch is not installed
	@$(LIGHT)/bin/python -c "import importlib.util as u, sys; sys.exit('torch is in $(LIGHT)' if u.find_spec('torch') else 0)"
	$(LIGHT)/bin/python -m pytest tests/light $(PYTEST_TOGETHER) --note-passed=$(PASSED)

.PHONY: lint
lint: env ## ruff, mypy, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# --- acceptance ---------------------------------------------------------------------------------------------------
# Each row of the acceptance table is one target; `make accept` runs them all and closes with a table.

COLLECTOR_ROWS := 1 2 3 4 5 6 7 8
QUALITY_ROWS := 1 2 3 4 5 7 8 9 10 11 12
REVIEW_ROWS := 1 2 3 4 5 6
BENCH_ROWS := 1 2 3 4 5 6 7 8 9
ROWS := 1 2 3 4 5 6 7 8 9 10 $(COLLECTOR_ROWS:%=collector-%) $(QUALITY_ROWS:%=quality-%) quality-6 $(REVIEW_ROWS:%=review-%) \
	$(BENCH_ROWS:%=cost-%) cost-10 cost-11 cost-12 cost-13 cost-14
ACCEPT := $(BIN)/python -m pytest -s -p no:cacheprovider
DOORS := $(patsubst %,tests/light/test_%.py,history import metadata downtimes incidents_file store store_processes)

.PHONY: accept
accept: env system ## every acceptance row in full, and a table of what holds
	@mkdir -p checkpoints/accept; : >checkpoints/accept/results.txt; failed=0; \
	for row in $(ROWS); do \
		start=$$(date +%s); said=holds; \
		CI=true $(MAKE) --no-print-directory accept-$$row || { said=FAILS; failed=1; }; \
		printf '%12s  %-6s %6d s  %s\n' $$row $$said $$(($$(date +%s) - start)) \
			"$$(sed -nE "s/^accept-$$row:.*## //p" $(firstword $(MAKEFILE_LIST)))" >>checkpoints/accept/results.txt; \
	done; \
	echo; echo '         row  result    took  what'; cat checkpoints/accept/results.txt; exit $$failed

.PHONY: $(ROWS:%=accept-%)
accept-1: demo system ## the demo: time, shares seen, areas, delays, a page with plots
	$(ACCEPT) tests/accept/test_demo.py

accept-2: test ## make test, and the light tests where torch is not installed

accept-3: env ## a real batch system: RICC
	$(ACCEPT) tests/accept/test_ricc.py

accept-4: env ## the chain on a real CRIC dump, with both models
	$(ACCEPT) tests/accept/test_real_cric.py

accept-5: $(DEMO)/review.html ## qad score equals the backtest
	$(ACCEPT) tests/accept/test_score_is_backtest.py

accept-6: $(DEMO)/review.html ## the same scores without the future, for one queue, from other starts
	$(ACCEPT) tests/accept/test_same_scores.py

accept-7: env ## what is refused, and what is accepted
	$(ACCEPT) $(DOORS) $(filter-out tests/apps/test_readme.py,$(wildcard tests/apps/test_*.py))

accept-8: env ## killed a hundred times and more during import
	QAD_KILLS=200 $(ACCEPT) tests/light/test_import_crash.py

accept-9: env ## README, command by command
	$(ACCEPT) tests/apps/test_readme.py

accept-10: $(DEMO)/review.html ## the metadata embeddings work
	$(ACCEPT) tests/accept/test_embeddings.py

# Rows of what is needed of the alarms: `make accept-quality-3`. The parts that are there are not made again.
.PHONY: $(QUALITY_ROWS:%=accept-quality-%)
$(QUALITY_ROWS:%=accept-quality-%): accept-quality-%: quality
	$(ACCEPT) "tests/accept/test_quality.py::test_row[$*]"

accept-quality-6: benchmark ## measurements of other systems, against the best peer of the same run
	$(ACCEPT) tests/accept/test_benchmark.py
# Rows of the collector; `make accept` does them with the others.
.PHONY: $(COLLECTOR_ROWS:%=accept-collector-%)
accept-collector-1: $(DEMO)/review.html system ## a day of ticks: each incident told once, faults told as faults
	$(ACCEPT) tests/accept/test_collector.py

accept-collector-2: env system ## a day of ticks, every third killed: the same store, incidents and InfluxDB
	QAD_KILLED_TICKS=144 $(ACCEPT) tests/services/test_tick_killed.py

accept-collector-3: env ## two ticks at once, a hanging tick, a clock that jumps
	$(ACCEPT) tests/services/test_tick.py

accept-collector-4: env system ## QMonit's schema both ways, with its own queries
	$(ACCEPT) tests/services/test_qmonit_schema.py tests/services/test_tick_influx.py tests/services/test_import_influxdb.py

accept-collector-5: env system ## downsampling by QMonit's rules
	$(ACCEPT) tests/light/test_retention.py tests/services/test_influx_sink.py

accept-collector-6: env system ## the query of every panel of the dashboards
	$(ACCEPT) tests/services/test_dashboards.py

accept-collector-7: env system ## hostile names, through to every sink and the page
	$(ACCEPT) -k "hostile or breaks_out" tests/services/test_influx_client.py \
		tests/services/test_alertmanager.py tests/services/test_mail.py tests/services/test_chat.py \
		tests/light/test_sinks_message.py tests/light/test_review_data.py tests/services/test_review_page.py

accept-collector-8: env system ## a wrong certificate, token, key or mode: one clear line each
	$(ACCEPT) tests/light/test_serving_config.py tests/services/test_doctor.py tests/services/test_telling.py tests/services/test_sources.py

# Rows of what reviewers see and say.
.PHONY: $(REVIEW_ROWS:%=accept-review-%)
accept-review-1: env system ## the page in a real browser, as a file and live: every interaction, times, axe-core
	$(ACCEPT) tests/services/test_review_page.py tests/services/test_review_speed.py tests/services/incidents_page \
		tests/services/test_review_labels.py tests/services/test_review_live_page.py tests/services/test_review_axe.py

accept-review-2: screenshots ## the pictures of docs/review.md

accept-review-3: env system ## two reviewers in two browsers, 200 labels, the server killed: none lost, none doubled
	$(ACCEPT) tests/accept/test_labels.py

accept-review-4: env ## 5 % of the training time is incidents: with labels of them a bundle sees more
	$(ACCEPT) tests/accept/test_labelled_training.py

accept-review-5: env ## a bundle's life: drift is told, a challenger wins, is promoted, is rolled back
	$(ACCEPT) tests/accept/test_life.py

accept-review-6: env ## a hundred hostile requests: refused, and the labels as they were
	$(ACCEPT) tests/services/test_review_hostile.py

# Rows of what it costs: `make accept-cost-8`. What has been measured with the same code is not measured again.
.PHONY: $(BENCH_ROWS:%=accept-cost-%)
$(BENCH_ROWS:%=accept-cost-%): accept-cost-%: bench
	$(ACCEPT) "tests/accept/test_bench.py::test_row[$*]"

accept-cost-10: $(DEMO)/review.html ## two workers of Dask over one: 1.5 times, the same bytes, one of them killed
	$(ACCEPT) tests/services/test_dask.py tests/accept/test_scaling.py

accept-cost-11: env ## several processes take the steps of one, shards make the same bundle, sweeps
	$(ACCEPT) tests/apps/test_ranks.py tests/apps/test_shards.py tests/apps/test_mapped.py tests/apps/test_sweeps.py

accept-cost-12: env system ## a history on S3 and in InfluxDB
	$(ACCEPT) tests/light/test_objects.py tests/services/test_storage.py tests/services/test_storage_influxdb.py

accept-cost-13: bench ## what a million series would take
	$(ACCEPT) tests/accept/test_bench.py -k million

accept-cost-14: bench-smoke ## what it costs in the small, held against what it was

.PHONY: clean
clean: ## remove environments, caches and the demo; other runs in checkpoints/ stay
	rm -rf $(VENV) $(LIGHT) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache checkpoints/demo checkpoints/trained checkpoints/accept
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
