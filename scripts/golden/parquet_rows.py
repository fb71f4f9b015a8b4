"""The rows that pyarrow reads from a parquet file, as JSON that this project's reader can be compared with.

    python3 scripts/golden/parquet_rows.py FILE... > rows.jsonl       # one line per file

Needs pyarrow. What JSON has no exact form for: {"$int": digits} beyond 2^53, {"$bytes": base64}, {"$float": "nan"}. As this
project's reader gives them: decimals, dates, times and timestamps as text, maps as objects.
"""

import base64
import datetime
import decimal
import json
import math
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def fraction(value: int, unit: str) -> str:
    digits = str(value * (10**9 // PER_SECOND[unit])).zfill(9)
    shown = digits[:6] if digits.endswith("000") else digits
    return "" if int(shown) == 0 else "." + shown


def clock(value: int, unit: str) -> str:
    seconds, rest = divmod(value, PER_SECOND[unit])
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" + fraction(rest, unit)


def calendar_date(days: int) -> str:
    """The date so many days after 1970-01-01, of any year: Python's dates end at 9999."""
    eras, days = divmod(days - (datetime.date(2000, 1, 1) - datetime.date(1970, 1, 1)).days, 146_097)  # 400 years
    date = datetime.date(2000, 1, 1) + datetime.timedelta(days)
    year = date.year + 400 * eras
    return f"{'-' if year < 0 else ''}{abs(year):04}-{date.month:02}-{date.day:02}"


def plain(scalar: pa.Scalar) -> object:
    if not scalar.is_valid:
        return None
    kind = scalar.type
    if pa.types.is_dictionary(kind):
        return plain(scalar.dictionary[scalar.index.as_py()])
    if pa.types.is_map(kind):
        keys_values = [(plain(pair["key"]), plain(pair["value"])) for pair in scalar.values]
        return {key if isinstance(key, str) else json.dumps(key): value for key, value in keys_values}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [plain(item) for item in scalar.values]
    if pa.types.is_struct(kind):
        return {name: plain(value) for name, value in scalar.items()}
    if pa.types.is_timestamp(kind):
        days, rest = divmod(scalar.value, 86_400 * PER_SECOND[kind.unit])
        return f"{calendar_date(days)}T{clock(rest, kind.unit)}" + ("+00:00" if kind.tz else "")
    if pa.types.is_time(kind):
        return clock(scalar.value, kind.unit)
    if isinstance(scalar, pa.ExtensionScalar):
        return str(scalar.as_py())
    value = scalar.as_py()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if isinstance(value, int) and abs(value) > 2**53 - 1:
        return {"$int": str(value)}
    return value if isinstance(value, (int, float, str)) else str(value)


def rows(table: pa.Table) -> list[dict]:
    columns = [[plain(value) for chunk in column.chunks for value in chunk] for column in table.columns]
    return [dict(zip(table.column_names, values)) for values in zip(*columns)]


def read(file: str) -> pa.Table:
    table = pq.ParquetFile(file).read()
    # Nanoseconds of INT96 wrap around beyond the year 2262; microseconds do not.
    coarse = pq.ParquetFile(file, coerce_int96_timestamp_unit="us").read()
    for i, column in enumerate(coarse.columns):
        if column.type == pa.timestamp("us") and table.column(i).type == pa.timestamp("ns"):
            fine = table.column(i).cast(pa.timestamp("us"), safe=False).cast(pa.int64())
            apart = pc.max(pc.abs(pc.subtract(fine, column.cast(pa.int64())))).as_py()
            if apart is not None and apart > 1:
                table = table.set_column(i, coarse.field(i), column)
    return table


def main() -> None:
    for file in sys.argv[1:]:
        try:
            print(json.dumps({"file": file, "rows": rows(read(file))}))
        except (pa.ArrowException, OverflowError) as error:
            print(json.dumps({"file": file, "error": str(error)}))


if __name__ == "__main__":
    main()
