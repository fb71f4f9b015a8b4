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
    "inner-quotes.csv": 'size,note\n3" pipe,he said "no"\n"a"b"c",5" x 7"\n"x""y"z,"p\nq"r\n',
    "inner-quotes.tsv": 'n\ttext\n1\t12" disk\n2\t{"k": "v"}\n3\t"tab\there"\n',
    "line-ends.csv": 'a,b\r\n1,"x\r\ny"\n2,"p\rq"\r3,z\n\r\n4,w',
    "carriage-returns.csv": "a,b\r1,x\r\r2,y\r",
    "blank-lines.csv": "\n  \na,b\n\t\n1, \n \t \n,\n2,x\n\n",
    "repeated-names.csv": "x,x,x.1,,x.2,x,\n1,2,3,4,5,6,7\n",
    "padded.csv": "a,b,c,d\n 1 , 2.5, true,\t7\n2, 3e2 ,false, 8 \n",
    "padded-missing.csv": "a,b\n 1, NA\n , 2\n",
    "large.csv": "a,b,c,d,e\n9007199254740993,9223372036854775808,9223372036854775808,9223372036854775808,9007199254740993\n,1,-1,,2\n",
    "cases.csv": "a,b,c\ntRuE,INF,NAN\nfalse,-Infinity,nan\n",
    "mark.csv": "\ufeff\"a\",b\n1,\u00e9\n",
    "numbers.csv": "a,b,c,d\n1e400,1e,0x1,1_0\n-1E-400,+5,1 2,--1\n",
}


def plain(value: object) -> object:
    """As scripts/golden/parquet_rows.py writes what JSON has no exact form for."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    return {"$int": str(value)} if isinstance(value, int) and abs(value) > 2**53 - 1 else value


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
