# Each target does its whole set-up; see scripts/setup.sh.
PYTHON = .venv/bin/python
# Live tests wait more than they compute, but a lab's sendmail must not starve. The long ones stand at the end: steal them.
WORKERS = auto --maxprocesses 4 --dist worksteal

.PHONY: demo test lint unit live attack matrix bench setup clean

demo: setup  ## plan, apply, mail through the filter, disable, mail around it, roll back: on a real sendmail
	@$(PYTHON) scripts/demo.py

test: lint  ## all tests, the live ones too
	@$(PYTHON) -m pytest -q -n $(WORKERS) $(ARGS)

lint: setup
	@$(PYTHON) -m ruff check -q .
	@$(PYTHON) -m mypy --strict --no-error-summary dkconf

unit: setup  ## what needs neither root nor sendmail
	@$(PYTHON) -m pytest -q -n $(WORKERS) -m "not live" $(ARGS)

attack: setup  ## each user attacks for three minutes, in every folder that he can write to
	@DKCONF_ATTACK_SECONDS=180 $(PYTHON) -m pytest -q tests/live/test_attack.py $(ARGS)

live: setup
	@$(PYTHON) -m pytest -q -n $(WORKERS) -m live $(ARGS)

matrix: setup  ## some minutes: any two octets in the name of an Authentication-Results field, and who reads it as ours
	@DKCONF_MATRIX=1 $(PYTHON) -m pytest -q -n $(WORKERS) tests/mail/test_authservid.py tests/live/test_opendmarc.py $(ARGS)

bench: setup  ## figures as ratios; see bench/README.md
	@$(PYTHON) bench/manager.py
	@$(PYTHON) bench/repository.py
	@$(PYTHON) bench/resolver.py
	@$(PYTHON) bench/stages.py
	@$(PYTHON) bench/filter.py

setup:
	@scripts/setup.sh

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
