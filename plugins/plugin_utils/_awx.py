# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX (Automation Controller, Tower) tells a job of itself. Pure functions. Private to this collection.

The names are those of ``awx_meta_vars`` in AWX 24, each as ``awx_...`` and ``tower_...``; a webhook adds its event and
Event-Driven Ansible adds ``ansible_eda``. The environment has the server's address as ``AWX_HOST``.
"""

from __future__ import annotations

import typing as t

Values = t.Mapping[str, t.Any]
# What a job is known by in the history, and the variable that says so.
TOLD = {
    "launch_type": "job_launch_type",
    "template": "job_template_name",
    "workflow_id": "workflow_job_id",
    "workflow": "workflow_job_name",
    "workflow_schedule": "parent_job_schedule_name",
    "schedule": "schedule_name",
    "webhook": "webhook_event_type",
    "revision": "project_revision",
    "branch": "project_scm_branch",
    "inventory": "inventory_name",
}
HOSTS = ("AWX_HOST", "CONTROLLER_HOST", "TOWER_HOST")
UNSET = "https://towerhost"  # what AWX_HOST is where nobody has set the server's address
EPHEMERAL = (
    "The history would be a file in the container of {place} and vanish with it: no later job would find this run, its "
    "lock or its rehearsal. Keep it in PostgreSQL: set CHANGEOPS_HISTORY_URL by a credential type, or "
    "rollback_history_url, to postgresql://changeops@db.example.com/changeops, say. Where the file lies on a volume "
    "that stays: rollback_allow_ephemeral_history: true."
)


def _said(variables: Values, name: str) -> t.Any:
    value = variables.get(f"awx_{name}") or variables.get(f"tower_{name}") or ""
    return value if isinstance(value, int) else str(value)


def job_of(variables: Values, environ: t.Mapping[str, str]) -> dict[str, t.Any] | None:
    """The job that this is: ``id``, ``url``, ``rule`` (of an EDA rulebook) and the keys of `TOLD`, as far as known.

    None outside AWX.
    """
    number = _said(variables, "job_id")
    if not number:
        return None
    job = {"id": number, **{key: _said(variables, name) for key, name in TOLD.items()}}
    eda = variables.get("ansible_eda")
    if isinstance(eda, dict):
        job["rule"] = " of ".join(str(eda[name]) for name in ("rule", "ruleset") if eda.get(name)) or "a rule"
    hosts = [environ.get(name, "").rstrip("/") for name in HOSTS]
    server = next((host for host in hosts if host.startswith(("https://", "http://")) and host != UNSET), "")
    job["url"] = f"{server}/#/jobs/playbook/{number}" if server else ""
    return {key: value for key, value in job.items() if value}


def person_of(job: Values, variables: Values) -> str:
    """Who had the job run: a user, or what stands in for one."""
    user = str(_said(variables, "user_name"))
    schedule = job.get("schedule") or job.get("workflow_schedule")
    stand_ins = (
        f"EDA rule {job['rule']}" if "rule" in job else "",
        f"schedule {schedule}" if schedule else "",
        f"webhook {job['webhook']}" if "webhook" in job else "",
    )
    return user or next(filter(None, stand_ins), "AWX")


def place_of(job: Values) -> str:
    """Where the run was started, in a few words."""
    return f"AWX job {job['id']}" + (f" of workflow {job['workflow_id']}" if "workflow_id" in job else "")


def job_words(job: Values | None) -> str:
    """What there is to know of the job beside its number, for people; empty where there was none."""
    if not job:
        return ""
    launch = {
        "manual": "a user",
        "scheduled": f"schedule {job.get('schedule', '')}".rstrip(),
        "webhook": f"webhook {job.get('webhook', '')}".rstrip(),
        "workflow": f"workflow {job.get('workflow', '')}".rstrip(),
    }
    kind = str(job.get("launch_type", ""))
    by = f"EDA rule {job['rule']}" if "rule" in job else launch.get(kind, kind)
    words = [
        f"template {job['template']}" if "template" in job else "",
        f"launched by {by}" if by else "",
        f"project revision {str(job['revision'])[:10]}" if "revision" in job else "",
    ]
    return ", ".join(filter(None, words))


def link_of(job: Values | None) -> str:
    """The address of the job, for a link; empty where it is not known to be one."""
    url = str((job or {}).get("url", ""))
    return url if url.startswith(("https://", "http://")) else ""


def from_words(run: Values) -> str:
    """Where a run of the history was started, with all that is known of its job."""
    words = job_words(run.get("job"))
    return f"{run['executed_from']}{f' ({words})' if words else ''}"


def slice_of(variables: Values) -> str:
    """The template that this job runs a slice of; empty where it runs no slice.

    AWX does not tell a job that it is a slice. It runs slices as the nodes of a workflow that has the template's name.
    """
    template, workflow = _said(variables, "job_template_name"), _said(variables, "workflow_job_name")
    return str(template) if template and template == workflow else ""
