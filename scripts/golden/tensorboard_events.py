"""Event files as TensorBoard's own classes serialize them, for test/log/tensorboard.test.ts; and --check FOLDER, which reads
event files with TensorBoard's reader and prints their scalars.

    python scripts/golden/tensorboard_events.py --out test/fixtures/golden
    python scripts/golden/tensorboard_events.py --check OUTPUT_DIR/runs
"""

import argparse
import pathlib
import tempfile

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

WALL_TIME = 1700000000.25


def events():
    yield Event(wall_time=WALL_TIME, file_version="brain.Event:2")
    yield Event(wall_time=WALL_TIME, step=7, session_log=SessionLog(status=SessionLog.START))
    values = {"train/reward": 0.5, "train/rewards/format/mean": -1.25, "eval/reward": 3e-8}
    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
    yield Event(wall_time=WALL_TIME, step=300, summary=summary)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--check", type=pathlib.Path)
    args = parser.parse_args()
    if args.out:
        with tempfile.TemporaryFile() as file:
            writer = RecordWriter(file)
            for event in events():
                writer.write(event.SerializeToString())
            writer.flush()
            file.seek(0)
            (args.out / "tensorboard.tfevents").write_bytes(file.read())
    if args.check:
        accumulator = EventAccumulator(str(args.check), size_guidance={"scalars": 0}).Reload()
        for tag in sorted(accumulator.Tags()["scalars"]):
            points = accumulator.Scalars(tag)
            print(tag, [(point.step, round(point.value, 6)) for point in points[:3]], len(points))


if __name__ == "__main__":
    main()
