# Everything a contributor does. `make demo` and `make test` set up .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
RUNS := .venv/.runs

.PHONY: demo test test-slow lint browser calibration beyond claims learners crowd crowd-disturbed hostile kills pipelines own-images paper-2d papers papers-full starter clean
.DEFAULT_GOAL := demo

demo: $(RUNS)             ## the flowers study in the browser
	$(BIN)/curate demo

test: $(READY) browser    ## the whole suite, under 12 minutes on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(READY) browser  ## the longer tests: minutes each
	$(BIN)/python -m pytest -m slow

lint: $(READY)            ## ruff and pyright
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	$(BIN)/ruff check .
	$(BIN)/pyright

paper-2d: $(READY)        ## rerun the paper's two-dimensional experiments and write docs/reproduction.md (under 15 minutes)
	$(BIN)/python -m benchmarks.paper_2d

papers: $(READY)          ## rerun all three papers and write docs/reproduction*.md (under an hour on two cores; ONLY=exact|ngram|2d|vae|gpt for a section)
	$(BIN)/python -m benchmarks.papers $(if $(ONLY),--only $(ONLY))

papers-full: $(READY)     ## the same at the papers' sizes, for a night or a GPU, into studies/papers-full
	$(BIN)/python -m benchmarks.papers --full $(if $(ONLY),--only $(ONLY))

learners: $(READY)        ## every learner against its population law, writes its section of docs/learners.md (25 minutes)
	$(BIN)/python benchmarks/learners.py

calibration: $(READY)     ## false alarms, power and coverage of every verdict; writes docs/calibration.md (under 30 minutes)
	$(BIN)/python benchmarks/calibration.py

beyond: $(READY)          ## false alarms and power of the exploited proxy, drifting tastes, taste groups, more than the mean; writes docs/beyond-power.md (two hours on two cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.beyond

claims: $(READY)          ## every claim of the literature that can be tested, judged by small runs; writes docs/claims.md (under 15 minutes, goes on where it was)
	$(BIN)/python -m benchmarks.claims

crowd: $(READY)           ## a crowd of 100 against a real server and worker, a minute (docs/deployment.md)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/crowd.py --raters 100 --seconds 30 --kill 2

crowd-disturbed: $(READY) ## 300 raters for five minutes, with kills of server and worker and a locked database
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/crowd.py --raters 300 --seconds 300 --kill 10 --kill-worker 3 --lock 60

hostile: $(READY)         ## attacks on served studies, on this machine (docs/security.md), under ten minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.hostile

kills: $(READY)           ## kill -9 of the worker at every place that matters (tests/loop/test_kills.py), ten minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow or not slow" tests/loop/test_kills.py

pipelines: $(READY) browser  ## small pipelines of diffusers, and two commands, served, picked, killed, resumed, reported
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow or not slow" tests/curate_app/test_diffusers_study.py tests/curate_app/test_own_trainer.py tests/model/test_diffusers_generator.py

own-images: $(READY)      ## a folder of 1,000 pictures from `curate new` to a first slate: make own-images CIFAR=<class folders>
	$(BIN)/python benchmarks/own_images.py $(CIFAR) --out studies/own-images

starter: $(READY)         ## rebuild the digits starter that ships in model/starters (about 15 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m loop.starter

$(RUNS): pyproject.toml constraints.txt  # what the demo runs on; tests add to it
	@$(PYTHON) -c 'import sys; sys.exit("curate needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	@echo "Setting up .venv (once; about 5 GB with torch) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $(RUNS)

$(READY): $(RUNS)
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $(READY)

browser: $(READY)         ## a Chromium for the browser tests: the system's, or Playwright's own
	@command -v chromium chromium-browser google-chrome >/dev/null 2>&1 \
	  || ls $${PLAYWRIGHT_BROWSERS_PATH:-$$HOME/.cache/ms-playwright} 2>/dev/null | grep -q chromium \
	  || $(BIN)/playwright install chromium \
	  || echo "No Chromium here and none could be downloaded: the browser tests will be skipped."

clean:
	rm -rf .venv build *.egg-info
