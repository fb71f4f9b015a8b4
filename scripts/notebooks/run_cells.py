"""Runs cells in a Jupyter kernel and prints what a notebook would show of each, as JSON, one line a cell.

The kernel's command is in the arguments, {connection_file} included; the cells are on standard input, as a JSON list of
{"code": …, "interrupt": …}, where `interrupt` is a text upon which, once the cell has shown it, the cell is interrupted.
"""

import json
import os
import sys
import tempfile
import time
from queue import Empty

from jupyter_client.manager import KernelManager

SECONDS_OF_SILENCE = 60

with tempfile.TemporaryDirectory() as folder:
    spec = os.path.join(folder, "kernels", "checked")
    os.makedirs(spec)
    with open(os.path.join(spec, "kernel.json"), "w") as file:
        json.dump({"argv": sys.argv[1:], "display_name": "checked", "language": "typescript"}, file)
    os.environ["JUPYTER_PATH"] = folder
    manager = KernelManager(kernel_name="checked")
    manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=SECONDS_OF_SILENCE)


def run(code: str, interrupt: str | None) -> dict[str, object]:
    request = client.execute(code)
    shown: dict[str, list[str]] = {"stdout": [], "stderr": [], "display": [], "result": [], "error": []}
    while True:
        try:
            message = client.get_iopub_msg(timeout=SECONDS_OF_SILENCE)
        except Empty:
            break
        if message["parent_header"].get("msg_id") != request:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "status" and content["execution_state"] == "idle":
            break
        if kind == "stream":
            shown[content["name"]].append(content["text"])
        elif kind in ("display_data", "update_display_data"):
            shown["display"].append(content["data"].get("text/plain", ""))
        elif kind == "execute_result":
            shown["result"].append(content["data"].get("text/plain", ""))
        elif kind == "error":
            shown["error"].append(f"{content['ename']}: {content['evalue']}")
        if interrupt is not None and interrupt in "".join(shown["stdout"]):
            manager.interrupt_kernel()
            interrupt = None
    return {name: "".join(parts) for name, parts in shown.items()} | {"alive": manager.is_alive()}


try:
    for cell in json.load(sys.stdin):
        print(json.dumps(run(cell["code"], cell.get("interrupt"))), flush=True)
        if "interrupt" in cell:
            # As at a keyboard: tslab drops what comes right after an error, and a run that was interrupted there goes on to save.
            time.sleep(2)
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
