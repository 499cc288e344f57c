"""The composition root: settings in, services out. The only place that knows every adapter."""

from orchestrator.wiring.app import App, make_app, make_model_desk, open_app
from orchestrator.wiring.catalogue import error_catalogue
from orchestrator.wiring.doctor import Closeness, make_patient, make_patient_without_table, with_place
from orchestrator.wiring.lanes import ask_provider, make_clerk, open_lanes
from orchestrator.wiring.limits import (
    UNLISTED_SLOTS,
    kinds_by_name,
    make_limits,
    make_rules,
    make_submit_limits,
    poll_schedules,
    slots_per_model,
)
from orchestrator.wiring.names import DISTRIBUTION, host_name
from orchestrator.wiring.schema import (
    check_database,
    check_search,
    current_schema,
    newest_schema,
    require_current_schema,
    upgrade_database,
)
from orchestrator.wiring.storing import (
    OUTPUTS_STORED_PER_JOB,
    describe_thumbnails,
    make_stores,
    make_thumbnails,
    storing_threads,
)
from orchestrator.wiring.webhooks import (
    make_delivering,
    make_link_judge,
    make_secret_box,
    make_sender,
    read_secret_key,
    webhook_judge,
)

__all__ = [
    "DISTRIBUTION",
    "OUTPUTS_STORED_PER_JOB",
    "UNLISTED_SLOTS",
    "App",
    "Closeness",
    "ask_provider",
    "check_database",
    "check_search",
    "current_schema",
    "describe_thumbnails",
    "error_catalogue",
    "host_name",
    "kinds_by_name",
    "make_app",
    "make_clerk",
    "make_delivering",
    "make_limits",
    "make_link_judge",
    "make_model_desk",
    "make_patient",
    "make_patient_without_table",
    "make_rules",
    "make_secret_box",
    "make_sender",
    "make_stores",
    "make_submit_limits",
    "make_thumbnails",
    "newest_schema",
    "open_app",
    "open_lanes",
    "poll_schedules",
    "read_secret_key",
    "require_current_schema",
    "slots_per_model",
    "storing_threads",
    "upgrade_database",
    "webhook_judge",
    "with_place",
]
