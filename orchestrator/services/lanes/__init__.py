"""The lanes: submit, poll, archive, sweep. Celery and the embedded runner call the same drains."""
