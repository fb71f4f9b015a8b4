"""CSV files and the rows that Hugging Face datasets reads from them.

    python3 scripts/golden/csv_rows.py --out test/fixtures/data/csv

Needs datasets. Writes OUT/NAME.csv (or .tsv) and OUT/rows.json, rows by file.
"""

import argparse
import json
import math
import pathlib
import tempfile

import datasets

FILES = {
    "types.csv": "int,float,exp,bool,bools,text,mixed,none,neg,zeros,date\n"
    "1,1.5,1e3,True,TRUE,a,1,,-1,007,2024-01-01\n"
    "22,-.5,2E-2,False,false,b c,x,NaN,+2,010,2024-01-02\n"
    "333,3.,7,True,true,\u00e9\u4e2d,2.5,None,3,000,x\n",
    "missing.csv": "int,float,bool,text\n1,0.5,True,a\n,,,\nNA,N/A,null,nan\n4,nan,False,NULL\n",
    "quotes.csv": 'q,"c,d"\n"a ""b"" c","line\nbreak"\n"1",x\n"","y"\n',
    "names.csv": "a,a,,b\n1,2,3,4\n",
    "short.tsv": "a\tb\tc\n1\tx\n2\ty\t3\n\n4\tz\t5\n",
    "infinite.csv": "x,y\ninf,1\n-inf,2\n",
    "spaces.csv": "a, b\n1, x\n2,y \n",
}


def plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, text in FILES.items():
        (out / name).write_bytes(text.encode())
        options = {"sep": "\t"} if name.endswith(".tsv") else {}
        with tempfile.TemporaryDirectory() as cache:
            rows = datasets.load_dataset("csv", data_files=str(out / name), split="train", cache_dir=cache, **options)
            found[name] = [{key: plain(value) for key, value in row.items()} for row in rows]
    (out / "rows.json").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
