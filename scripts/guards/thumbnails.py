"""Thumbnails: strangers' files are decoded apart, and no trouble with one is a job's."""

from __future__ import annotations

from scripts.guards.guard import Guard

MAKER = "orchestrator/thumbnails/maker.py"
WORKER = "orchestrator/thumbnails/worker.py"
SERVICE = "orchestrator/services/archive/thumbnails.py"
MAKING = "tests/thumbnails/test_maker.py"
LANE = "tests/services/test_thumbnails.py"

GUARDS = (
    Guard(
        name="a failed thumbnail is no failure",
        promise="What was paid for and is archived is a success, with a thumbnail or without.",
        file=SERVICE,
        kept="        return file\n    reach(CrashPoint.THUMBNAIL_STORED)",
        removed="        raise\n    reach(CrashPoint.THUMBNAIL_STORED)",
        tests=(LANE,),
    ),
    Guard(
        name="a decoder has no keys",
        promise="No secret is where strangers' files are decoded.",
        file=MAKER,
        kept="                env={},\n",
        removed="",
        tests=(f"{MAKING}::test_no_key_of_ours_is_handed_on",),
    ),
    Guard(
        name="a decoder has an end",
        promise="No file holds the archive lane.",
        file=MAKER,
        kept="process.wait(self._deadline)",
        removed="process.wait()",
        tests=(f"{MAKING}::test_a_decoder_that_takes_too_long_is_ended",),
        hangs=True,
    ),
    Guard(
        name="no decoder outlives its process",
        promise="Who stops a worker waits for no film.",
        file=MAKER,
        kept="                process.kill()\n\n    def make",
        removed="                process.poll()\n\n    def make",
        tests=(f"{MAKING}::test_a_stop_waits_for_no_decoder",),
        hangs=True,
    ),
    Guard(
        name="a decoder has little memory",
        promise="No file fills the host's memory.",
        file=WORKER,
        kept="        _bound(resource.RLIMIT_AS, MOST_MEMORY)\n",
        removed="        resource.getrlimit(resource.RLIMIT_AS)\n",
        tests=(f"{MAKING}::test_the_decoder_has_no_environment_and_little_memory",),
    ),
    Guard(
        name="a picture is judged by its header first",
        promise="What declares more pixels than anything honest is not decoded.",
        file=WORKER,
        kept="    if width * height > MOST_PIXELS:\n",
        removed="    if width * height < 0:\n",
        tests=(f"{MAKING}::test_a_bomb_is_refused_before_it_is_decoded",),
    ),
    Guard(
        name="what a decoder answers is walked",
        promise="Nothing but a small JPEG is ever stored as a thumbnail.",
        file=MAKER,
        kept="        if facts.content_type != THUMBNAIL_TYPE or not 0 < max(width, height) <= self._pixels:\n",
        removed="        if not facts.content_type:\n",
        tests=(f"{MAKING}::test_what_comes_back_is_not_believed",),
    ),
    Guard(
        name="a thumbnail shows its own output",
        promise="What was changed in the archive is not shown as what was stored.",
        file=SERVICE,
        kept="        if copy.sha256 != file.sha256:\n",
        removed="        if not copy.sha256:\n",
        tests=(f"{LANE}::test_a_thumbnail_is_not_made_of_other_bytes",),
    ),
    Guard(
        name="papers do not outlive an erasure",
        promise="What retention took away stays away.",
        file=SERVICE,
        kept="        store.delete(papers)  # retention came first",
        removed="        store.find(papers)  # retention came first",
        tests=(f"{LANE}::test_what_retention_took_meanwhile_is_not_written_again",),
    ),
    Guard(
        name="an erased output gets no thumbnail",
        promise="What retention took away stays away.",
        file="orchestrator/db/papers.py",
        kept="OUTPUTS.c.archived_at.is_not(None), OUTPUTS.c.erased_at.is_(None))",
        removed="OUTPUTS.c.archived_at.is_not(None))",
        tests=(f"{LANE}::test_what_retention_took_meanwhile_is_not_written_again",),
    ),
    Guard(
        name="a thumbnail goes with its output",
        promise="Retention leaves nothing of what it takes away.",
        file="orchestrator/services/archive/retention.py",
        kept="            store.delete(thumbnail)\n",
        removed="            store.find(thumbnail)\n",
        tests=(f"{LANE}::test_retention_counts_and_removes_thumbnails",),
    ),
    Guard(
        name="a thumbnail without a row is no orphan",
        promise="A death between a thumbnail and its row leaves nothing to look after.",
        file="orchestrator/services/doctor/archive.py",
        kept="        if key not in map(thumbnail_key, archived):",
        removed="        if key not in archived:",
        tests=(f"{LANE}::test_a_thumbnail_of_which_no_row_speaks_is_no_orphan",),
    ),
    Guard(
        name="papers claim their own thumbnail alone",
        promise="Papers speak for one folder.",
        file="orchestrator/services/archive/manifest.py",
        kept="        if output.thumbnail is not None and output.thumbnail.key != ",
        removed="        if output.thumbnail is None and output.key != ",
        tests=(f"{LANE}::test_papers_cannot_claim_a_thumbnail_elsewhere",),
    ),
)
