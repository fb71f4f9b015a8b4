"""What a tracker has of its runs, read by the tracker's own package, as JSON: python read.py mlflow URI | trackio PROJECT | wandb FILE"""

import json
import struct
import sys
import zlib


def number(value):
    """Numbers as JavaScript writes them: MLflow's store has its largest number for an infinite one."""
    value = float(value)
    if value != value:
        return "NaN"
    if abs(value) > 1.7e308:
        return "Infinity" if value > 0 else "-Infinity"
    return value


def read_mlflow(uri):
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    for run in runs:
        history = [
            [point.step, name, number(point.value)]
            for name in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, name)
        ]
        yield {
            "name": run.info.run_name,
            "experiment": client.get_experiment(run.info.experiment_id).name,
            "state": run.info.status,
            "ended": run.info.end_time is not None,
            "config": run.data.params,
            "tags": {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")},
            "history": history,
        }


def read_trackio(project):
    import trackio
    from trackio import fragments
    from trackio.sqlite_storage import SQLiteStorage

    fragments.import_inbox_dir()  # what the dashboard does
    for run in trackio.Api().runs(project):
        logs = SQLiteStorage.get_logs(project, run.name, run_id=run.id)
        rows = [(row["train/global_step"], row["step"], row) for row in logs]
        assert all(step == own for step, own, _ in rows), rows
        history = [
            [step, name, number(value)]
            for step, _, row in rows
            for name, value in row.items()
            if name.startswith(("train/", "eval/")) and name != "train/global_step"
        ]
        config = {k: v for k, v in run.config.items() if not k.startswith("_")}
        yield {"name": run.name, "config": config, "history": history}


def wandb_records(data):
    from wandb.proto import wandb_internal_pb2

    assert data[:7] == b":W&B\xe1\xbe\x00", data[:7]
    at, parts = 7, b""
    while at < len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        checksum, length, kind = struct.unpack("<IHB", data[at : at + 7])
        body = data[at + 7 : at + 7 + length]
        assert zlib.crc32(bytes([kind]) + body) == checksum, at
        at += 7 + length
        parts = body if kind in (1, 2) else parts + body
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record


def read_wandb(file):
    run, config, history, exits = None, {}, [], []
    with open(file, "rb") as opened:
        for record in wandb_records(opened.read()):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run = record.run
            for update in (record.run.config if kind == "run" else record.config).update:
                config[update.key] = json.loads(update.value_json)
            if kind == "history":
                row = {item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                assert row["_step"] == record.history.step.num == len({r[0] for r in history})
                history += [
                    [record.history.step.num, row["train/global_step"], name, number(value)]
                    for name, value in row.items()
                    if name.startswith(("train/", "eval/")) and name != "train/global_step"
                ]
            if kind == "exit":
                exits.append(record.exit.exit_code)
    yield {
        "name": run.display_name,
        "project": run.project,
        "tags": list(run.tags),
        "state": exits,
        "config": config,
        "history": [entry[1:] for entry in history],
    }


read = {"mlflow": read_mlflow, "trackio": read_trackio, "wandb": read_wandb}[sys.argv[1]]
print(json.dumps(list(read(sys.argv[2]))))
