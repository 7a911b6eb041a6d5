# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# PYTHON=python3.12 chooses the interpreter for .venv, ANSIBLE_CORE='ansible-core==2.20.*' the Ansible.

.PHONY: bench bench-check demo demo-stop docs faults lint molecule test test-newest tools units
export ANSIBLE_CORE PYTHON
# where it is set, each command would compile all of Ansible anew
unexport PYTHONDONTWRITEBYTECODE
IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH"

demo:
	@tests/bootstrap demo
	@$(IN_VENV) ANSIBLE_CALLBACK_RESULT_FORMAT=yaml ansible-playbook -i inventories/demo changeops.rollback.demo

demo-stop:
	@tests/bootstrap demo
	@$(IN_VENV) ansible-playbook -i inventories/demo changeops.rollback.demo_stop

docs:
	@tests/bootstrap dev
	@$(IN_VENV) python tests/unit/refusals.py
	@$(IN_VENV) python tests/integration/reliability.py
	@$(IN_VENV) tests/docs

lint:
	@tests/bootstrap dev
	@$(IN_VENV) tests/lint

# What runs on hosts is tested by ansible-test with the oldest Python that a host may have, all else with the controller's.
ON_HOSTS := tests/unit/plugins/modules/ tests/unit/plugins/module_utils/

tools:
	@tests/bootstrap dev
	@tests/system-packages

units: tools
	@$(IN_VENV) tests/ansible-test units --num-workers 3 --python 3.8 $(ON_HOSTS)

# Much of the gates and the units has work for one core only, and Molecule waits for its hosts: they go on side by side.
# Three workers for two cores: a test that waits, for a host or until something is given up, leaves its core to another.
test: tools
	@$(MAKE) --no-print-directory --jobs 3 --output-sync=target lint units molecule
	@$(IN_VENV) pytest -n 3 --durations 20 $(ON_HOSTS:%=--ignore=%)

# Each role alone on real hosts and a whole rollback, or one of them: make molecule ROLE=git_revert
molecule: tools
	@$(IN_VENV) molecule/run test $(if $(ROLE),--scenario-name $(ROLE),--all)

# Each case of docs/reliability.md, hours of work; or the short matrix, or some: make faults FAULTS=short, ONLY='verify and SIGKILL'
faults: export FAULTS ?= all
faults: tools
	@$(IN_VENV) pytest -n 3 tests/integration/test_fault_matrix.py $(if $(ONLY),-k '$(ONLY)')

# What it costs beside other ways, docs/performance.md, hours; or some of it: make bench ROUNDS=1 HOSTS=1 SIZES=
bench: tools
	@$(IN_VENV) python tests/benchmarks/bench.py

# Whether that has grown by half, two minutes of a machine that does nothing else
bench-check: tools
	@$(IN_VENV) pytest tests/benchmarks

# What is newer than that: the newest ansible-core and its Python, and each newer Python that a host may have.
test-newest: export VENV := .venv-newest
test-newest: export PYTHON := python3.13
test-newest: export ANSIBLE_CORE := ansible-core
# what depends on the host more than on Ansible, and what takes longest, is tried with one core
test-newest: ONCE := $(wildcard $(patsubst %,tests/integration/test_%.py,awx_setup dependencies execution_environment fault_matrix faults fleet git_revert odd_hosts rehearse_beside release report_browser rulebook sample_app stack systemd systemd_refusals systemd_run verify))
test-newest:
	@tests/bootstrap dev
	@tests/system-packages
	@tests/ansible-test units --num-workers 3 $(ON_HOSTS)
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" pytest -n 3 $(ON_HOSTS:%=--ignore=%) $(ONCE:%=--ignore=%)
