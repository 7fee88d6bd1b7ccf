"""Stands in for the process of a proof: python proof_scenarios.py FAULTS STARTS SECONDS DEVICE DEPTH SUBJECT...

It imports no torch, so that it starts at once. FAULTS is JSON: what happens at a subject, by its name. `passed` and
other outcomes are said; the rest is done. The subjects of every process are written to the file STARTS, a line each.
"""

import ctypes
import json
import os
import sys
import threading

# samples/s of the subject's own backend; another one has 2
RATES = {"passed": 4.0, "slow": 1.0}


def forever():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def main():
    faults, starts, _seconds, _device, _depth, *subjects = sys.argv[1:]
    faults = json.loads(faults)
    with open(starts, "a") as file:
        file.write(", ".join(subjects) + "\n")
    if faults.get("start") == "hang":
        forever()
    if faults.get("start") == "exit":
        print("no module named torch", file=sys.stderr)
        sys.exit(3)
    print("{}", flush=True)
    for subject in subjects:
        fault = faults.get(subject, "passed")
        if fault == "hang":
            forever()
        elif fault == "crash":
            print("before the end\n", file=sys.stderr)
            ctypes.string_at(0)
        elif fault == "abort":
            os.abort()
        elif fault == "exit":
            sys.exit(0)
        elif fault == "babble":
            print("Compiling kernel ... 100%", flush=True)
        elif fault == "nested":
            print("[" * 100_000, flush=True)
        elif fault == "list":
            print("[1]", flush=True)
        elif fault == "negative":
            print(
                json.dumps({"outcome": "passed", "detail": "", "rates": {"1": {"cuda": -1.0, "cpu": 1.0}}}), flush=True
            )
        elif fault == "no rates":
            print(json.dumps({"outcome": "passed", "detail": "", "rates": {}}), flush=True)
        elif fault == "child":  # a grandchild that holds the output open
            if (child := os.fork()) == 0:
                forever()
            print(child, file=sys.stderr)
            os.abort()
        else:
            own = RATES.get(fault)
            rates = {} if own is None else {"1 stream": {subject.split()[1]: own, "cpu": 2.0}}
            outcome = fault if own is None else "passed"
            print(json.dumps({"outcome": outcome, "detail": f"detail of {fault}", "rates": rates}), flush=True)
            if outcome not in ("passed", "refused"):
                return


if __name__ == "__main__":
    main()
