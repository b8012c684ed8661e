"""The publisher `s3managed`: results to the bucket that the control plane's owner names; jobs say nothing of it."""

from typing import TYPE_CHECKING

from skrei_domain.destinations import PLACE
from skrei_domain.job_reading import FieldProblem, show
from skrei_plugin_api.outbound import Outbound
from skrei_plugin_api.plugin import Params, PluginInfo
from skrei_plugin_api.publisher import PublishDenied, Published
from skrei_plugin_s3.managed import Managed
from skrei_plugin_s3.publisher import S3Publisher
from skrei_plugin_s3.targets import SUFFIX, Target
from skrei_plugin_s3.upload_notes import Note

if TYPE_CHECKING:
    from skrei_plugin_s3.objects import Stored


class S3Managed(S3Publisher):
    """Results to the bucket that the control plane's owner names in settings; a job says nothing of it."""

    name = "s3managed"

    async def describe(self) -> PluginInfo:
        """Say whether there are a bucket and credentials."""
        try:
            managed = Managed.from_options(self.context.options)
        except ValueError as error:
            return PluginInfo(available=False, reason=str(error))
        if managed is None:
            return PluginInfo(available=False, reason="no bucket is set: s3managed_bucket (docs/RESULTS.md)")
        return await super().describe()

    def validate(self, params: Params) -> list[FieldProblem]:
        """A job says nothing; what the control plane says of its place is no job's."""
        return [
            FieldProblem(key, show(value), "nothing: s3managed takes no params")
            for key, value in params.items()
            if key != PLACE or not _is_place(value)
        ]

    def target(self, params: Params) -> Target:
        """Return the object of an execution in the owner's bucket."""
        managed = Managed.from_options(self.context.options)
        if managed is None:
            raise PublishDenied("no bucket is set: s3managed_bucket (docs/RESULTS.md)")
        return managed.target(str(params.get(PLACE) or ""))

    def at(self, params: Params) -> str:
        """Where the owner keeps it is nobody else's business."""
        return self.name

    def told(self, note: Note, stored: "Stored") -> Published:
        """Return whose result it is: where the owner keeps it is nobody else's business."""
        *_, job_id, execution_id = note.target.key.removesuffix(SUFFIX).split("/")
        return Published({"JobID": job_id, "ExecutionID": execution_id})

    def found(self, params: Params) -> tuple[Target, str] | None:
        """Return the object of an execution."""
        job_id, execution_id = params.get("JobID"), params.get("ExecutionID")
        place = f"{job_id}/{execution_id}" if job_id and execution_id else ""
        return (self.target({PLACE: place}), "") if _is_place(place) else None

    def rules(self) -> Outbound | None:
        """No job names a server here."""
        return None


def _is_place(value: object) -> bool:
    parts = value.split("/") if isinstance(value, str) else []
    return len(parts) == 2 and all(part.strip(".") and part.isprintable() and "\\" not in part for part in parts)
