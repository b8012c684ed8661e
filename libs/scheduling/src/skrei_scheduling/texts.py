"""The words of history: topics, messages and problem codes, each spelled once."""

from datetime import timedelta

SUBMISSION = "Submission"
QUEUEING = "Queueing"
STATE_UPDATE = "State Update"
SCHEDULING = "Scheduling"
EXECUTION = "Execution"
JOB_TIMEOUT = "Job Timeout"
RESTART = "Restart"

SUBMITTED = "Job submitted"
UPDATED = "Job updated"
UPDATE_REQUESTED = "Job update requested by user"
RERUN = "Job rerun requested"
RERUN_REQUESTED = "job rerun"
RUNNING = "Running"
COMPLETED_SUCCESSFULLY = "Completed successfully"
REQUESTED = "Requested execution on {node}"
JOB_QUEUED = "Job queued. {text}"
UNITS_QUEUED = "{waiting} of {units} executions queued. {text}"
TIMED_OUT = "Job timed out. Job took longer than {limit}"
TIMED_OUT_HINT = "Increase the task timeout or allocate more resources"
RETRIED_TOO_OFTEN = "Job failed because it has been retried too many times"
EXECUTIONS_FAILED = "Job failed because one or more executions failed"
NODES_FAILED = "{failed} of {targets} nodes failed; on {node}: {reason}"
NO_MATCH = "not matching nodes to run job out of {available} available nodes."
NODE_LOST = "its node has been away for longer than {wait} (Offline.Wait)"
NODE_CHANGED = "its node cannot run it any more: {reason}"
NODE_REMOVED = "its node is not part of the cluster any more"
COMPLETED_UNEXPECTEDLY = "execution completed unexpectedly"
EXITED_UNEXPECTEDLY = "execution completed unexpectedly (exit code {code})"

STOP_JOB_STOPPED = "Execution stop requested because job has been stopped"
STOP_JOB_FAILED = "Execution stopped due to job failure"
STOP_JOB_UPDATED = "Execution stopped for job update"
STOP_NOT_NEEDED = "Execution stop requested because there are more executions than needed"
STOP_ROLLED = "Execution stopped for job update: enough of the new version is ready"
READY_VERSION, GONE_BACK_FROM = "ReadyVersion", "GoneBackFrom"
"""Details of a service's history: which version is ready as a whole, and which was given up. Clients wait for them."""
VERSION_READY = "Version {version} is ready: {units} of {units}"
ROLLED_BACK = "Job updated: back to version {good}, because nothing more of version {bad} became ready within {limit}"
STOP_NO_MATCH = "Execution stop requested because its node does not match the job any more"
STOP_REPLACED = "Execution stop requested because it was replaced while its node was silent"
STOP_ORIGINAL_BACK = "Execution stop requested because the original returned"
STOP_NO_ANSWER = "Execution stop requested because its node did not answer the offer"
STOP_NODE_REJECTED = "Execution stop requested because node has been rejected"
NODE_REJECTED = "its node was rejected"
NODE_DELETED = "its node was deleted"

STOPPED = "Stopped"
PUBLISHING = "Publishing: its result of {size} bytes is uploaded and being made final"
PUBLISH_FAILED = "Its result could not be published: {reason}"
RECEIPT_REFUSED = "what its node reported as uploaded is not what the publisher has signed for"
EXITED = "the program ended with exit code {code} (FailOn: exit-code)"
NOT_COUNTED = "Completed, not counted: its unit was won, or its job had ended, before"
LATE = "{state} after it was revoked: not counted"
LATE_TERMINAL = "{state} after it was already {held}: not counted"
SILENT = "Unknown: its node is silent"
RETURNED = "{state} again: its node is back"
RESTARTED = "Started again on its node (start {start})"
LOST = "Lost: {reason}"
REFUSED = "Refused: {reason}"
NO_REASON = "no reason given"
OF_TASK = "Task {task}: {text}"
SKIPPED = "Skipped, since what they wait for has not completed: {tasks}"

IS_ERROR = "IsError"
ERROR_CODE = "ErrorCode"
NEW_STATE = "NewState"
NODE_ID = "NodeID"
HINT = "Hint"
REASON = "Reason"
POSITION = "Position"
LATE_KEY = "Late"
TASK = "Task"
TASKS = "Tasks"
SKIPPED_KEY = "Skipped"

READY_VERSION = "ReadyVersion"
GONE_BACK_FROM = "GoneBackFrom"

EXIT_CODE = "exit-code"
COMPLETED_CODE = "completed-unexpectedly"
NODE_LOST_CODE = "node-lost"
REFUSED_CODE = "refused"
LOST_CODE = "lost"
NO_ANSWER_CODE = "no-answer"
REJECTED_CODE = "node-rejected"
INTERRUPTED_CODE = "interrupted"
RESULT_LOST_CODE = "result-lost"
RECEIPT_REFUSED_CODE = "receipt-refused"
REGISTRY_NOT_FOUND_CODE = "registry-not-found"
"""Of an engine that pulls images: the registry's name leads nowhere."""
IMAGE_PLATFORM_CODE = "image-platform"
"""Of such an engine: the image is for other machines than its node."""
NETWORK_REFUSED_CODE = "network-refused"
"""Of a node whose owner does not let jobs have the network that one asks for."""
RETRIED = frozenset(
    {
        REFUSED_CODE,
        LOST_CODE,
        NO_ANSWER_CODE,
        REJECTED_CODE,
        INTERRUPTED_CODE,
        RESULT_LOST_CODE,
        RECEIPT_REFUSED_CODE,
    }
)
"""Problem codes of attempts that did not end by their own doing: the unit is placed again."""

NEVER_RAN = frozenset({REFUSED_CODE, NO_ANSWER_CODE})
"""Problem codes of attempts of which nothing ran: what runs once on every node is offered to it again."""

BAD_RECEIPT = "receipt.refused"
"""What the audit calls a receipt that its publisher has not signed, or for something else."""

LATE_REPORT = "execution.late"
"""What the audit calls the end that a revoked execution reported."""

TRIGGER_REGISTER = "job-register"
TRIGGER_UPDATE = "job-update"
TRIGGER_RERUN = "job-rerun"
TRIGGER_CANCEL = "job-cancel"
TRIGGER_JOB_TIMEOUT = "job-timeout"
TRIGGER_QUEUE_TIMEOUT = "queue-timeout"
TRIGGER_FAILURE = "exec-failure"
TRIGGER_RETRY = "exec-retry"
TRIGGER_READY = "exec-ready"
TRIGGER_PROGRESS = "progress-deadline"
TRIGGER_ROLLBACK = "job-rollback"
ROLLBACK_ACTION = "job.rollback"
"""What the audit calls a version that the scheduler made by itself."""
ROLLBACK_ACTOR = "scheduler"

TRIGGER_NODE_LOST = "node-lost"
TRIGGER_TASK_FREE = "task-free"
"""Of a job of which a task waits for others no more."""
TRIGGER_CONTINUE = "job-continue"
"""Of a job with more units than one look places or stops."""

TRIGGER_ROOM = "room"
"""Of an evaluation that lives in memory only: a node changed, and a waiting job may have room now."""


def duration(value: timedelta) -> str:
    """Return a duration as people write it: `1h2m3s`, `90s` as `1m30s`, `1.5s`."""
    seconds = value.total_seconds()
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [
        f"{int(hours)}h" if hours else "",
        f"{int(minutes)}m" if minutes else "",
        f"{seconds:g}s" if seconds else "",
    ]
    return "".join(parts) or "0s"
