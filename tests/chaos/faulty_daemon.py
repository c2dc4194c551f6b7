"""`xlstmd` with further models, which break when they are told to. Not a test.

Usage: `python -m tests.chaos.faulty_daemon PLAN serve ...`; the plan is JSON: `models`, arguments
of `tests.told_models.load` each; `is_alone`, whether the shipped model is left out; `longest_s`,
the longest pause before another worker is tried.
"""

import json
import sys

from xlstmd.cli import main
from xlstmd.engine import lane_keeper
from xlstmd.engine.model_source import ModelSource
from xlstmd.server import serve

if __name__ == "__main__":
    plan = json.loads(sys.argv.pop(1))
    told = [
        ModelSource(loader="tests.told_models:load", arguments=arguments)
        for arguments in plan["models"]
    ]
    lane_keeper.LONGEST_S = plan.get("longest_s", lane_keeper.LONGEST_S)
    run = serve.run

    def run_with(sources, *rest, **more):
        run([*(() if plan.get("is_alone") else sources), *told], *rest, **more)

    serve.run = run_with
    sys.exit(main())
