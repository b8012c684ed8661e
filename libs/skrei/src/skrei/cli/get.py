"""`skrei get`, `skrei job get`: how they are called; `skrei.cli.fetching` does it, which takes its time to import."""

from skrei.cli.flags import LAST, NAMESPACE, flag, integer, seconds, text
from skrei.cli.grammar import Command

GET = Command(
    "job get",
    "Fetch the results of a job. Those of several partitions lie together, their output joined in order.",
    "skrei.cli.fetching:get",
    (
        text("--output-dir", "FOLDER", "Where to; else a new folder job-<id> here.", completes="file"),
        text("--execution", "ID", "What this execution left, whether it counts or not.", "-e"),
        flag("--raw", "Only the archives, as they are, in a folder raw."),
        flag("--per-partition", "A folder for each partition, instead of all together."),
        flag("--overwrite", "Replace what has the same name."),
        integer("--parallel", "Downloads at once.", default=4, least=1, most=64, variable="SKREI_GET_PARALLEL"),
        integer("--max-files", "Refuse an archive with more entries; else 100000."),
        text("--max-size", "SIZE", "Refuse one that unpacks to more, such as 200GB; else 64Gi."),
        integer("--max-ratio", "Refuse one that unpacks to so many times its size; else 250."),
        seconds("--download-timeout-secs", "Give up after so long; 0 is no limit."),
        NAMESPACE,
    ),
    (LAST,),
    more=(
        "Of several tasks each has a folder of its own, of an ops job each node. JOB/FILE fetches one file or folder "
        "of the results alone."
    ),
)
